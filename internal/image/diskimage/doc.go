// Package diskimage gets raw disk images in and out of files: it decodes a
// published image, compressed or not, into one or more sparse files, copies
// images cheaply, changes single sectors, and hashes the results.
//
// The idea to hold while reading: an output has no name until all outputs are
// complete. [Create] opens temporary files, [Input.Decode], [Output.Clone] and
// [Patch.Apply] fill them, and [Outputs.Commit] names them all or none. What
// was not committed is gone after [Outputs.Abort], whatever went wrong.
//
// A hole in a file reads as zeros and is an image's way of saving space. On
// file systems with ext4's habits every page of zeros is left out. Where files
// can share their blocks, a copy costs as much as its source has extents, so
// there small holes are filled: see [Layout].
//
// The package knows nothing of what is in an image.
package diskimage
