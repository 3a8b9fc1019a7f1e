// Package diskimage gets raw disk images in and out of files: it decodes a
// published image, compressed or not, into one or more sparse files, copies
// images cheaply, changes single sectors, and hashes the results.
//
// The idea to hold while reading: an output has no name until all outputs are
// complete. [Create] opens temporary files, [Input.Decode], [Output.Clone] and
// [Patch.Apply] fill them, and [Outputs.Commit] names them all or none. What
// was not committed is gone after [Outputs.Abort], whatever went wrong.
//
// A hole in a file reads as zeros and takes no space. On most file systems, every page
// of zeros becomes a hole. Where files can share their blocks, the cost of a copy grows
// with the extents of its source, so small holes are filled there: see [Layout].
//
// The package knows nothing of what is in an image.
package diskimage
