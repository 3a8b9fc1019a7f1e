package ext4

import (
	"fmt"
	"math/bits"
)

// A feature is a bit of one of the superblock's three feature words.
type feature struct {
	word featureWord
	bit  uint32
}

// A featureWord tells what a program must do about a feature that it does not know.
type featureWord int

const (
	compat   featureWord = iota // ignore it
	incompat                    // keep off
	roCompat                    // read only
)

var (
	featureDirIndex      = feature{compat, 0x20}
	featureSparseSuper2  = feature{compat, 0x200}
	featureFiletype      = feature{incompat, 0x2}
	featureNeedsRecovery = feature{incompat, 0x4}
	featureMetaBG        = feature{incompat, 0x10}
	featureExtents       = feature{incompat, 0x40}
	feature64bit         = feature{incompat, 0x80}
	featureFlexBG        = feature{incompat, 0x200}
	featureCsumSeed      = feature{incompat, 0x2000}
	featureLargeDir      = feature{incompat, 0x4000}
	featureSparseSuper   = feature{roCompat, 0x1}
	featureLargeFile     = feature{roCompat, 0x2}
	featureHugeFile      = feature{roCompat, 0x8}
	featureGdtCsum       = feature{roCompat, 0x10}
	featureDirNlink      = feature{roCompat, 0x20}
	featureExtraIsize    = feature{roCompat, 0x40}
	featureMetadataCsum  = feature{roCompat, 0x400}
	featureOrphanPresent = feature{roCompat, 0x10000}
)

// supported has the features of two of the words; features of the third, compat, only
// have to be kept.
var supported = []feature{
	featureFiletype, featureMetaBG, featureExtents, feature64bit, featureFlexBG, featureCsumSeed, featureLargeDir,
	featureSparseSuper, featureLargeFile, featureHugeFile, featureGdtCsum, featureDirNlink, featureExtraIsize,
	featureMetadataCsum,
}

// featureNames are the names that dumpe2fs prints, by bit.
var featureNames = [3]map[int]string{
	compat: {0: "dir_prealloc", 1: "imagic_inodes", 2: "has_journal", 3: "ext_attr", 4: "resize_inode", 5: "dir_index",
		6: "lazy_bg", 8: "snapshot_bitmap", 9: "sparse_super2", 10: "fast_commit", 11: "stable_inodes", 12: "orphan_file"},
	incompat: {0: "compression", 1: "filetype", 2: "needs_recovery", 3: "journal_dev", 4: "meta_bg", 6: "extent",
		7: "64bit", 8: "mmp", 9: "flex_bg", 10: "ea_inode", 12: "dirdata", 13: "metadata_csum_seed", 14: "large_dir",
		15: "inline_data", 16: "encrypt", 17: "casefold"},
	roCompat: {0: "sparse_super", 1: "large_file", 2: "btree_dir", 3: "huge_file", 4: "uninit_bg", 5: "dir_nlink",
		6: "extra_isize", 7: "has_snapshot", 8: "quota", 9: "bigalloc", 10: "metadata_csum", 11: "replica",
		12: "read-only", 13: "project", 14: "shared_blocks", 15: "verity", 16: "orphan_present"},
}

func (x feature) String() string {
	n := bits.TrailingZeros32(x.bit)
	if name, ok := featureNames[x.word][n]; ok {
		return name
	}
	return fmt.Sprintf("FEATURE_%c%d", "CIR"[x.word], n) // as dumpe2fs does
}

// features lists all that are set, in the order of dumpe2fs.
func (s *superblock) features() (list []feature) {
	for word, set := range []uint32{s.Compat, s.Incompat, s.RoCompat} {
		for ; set != 0; set &= set - 1 {
			list = append(list, feature{featureWord(word), set & -set})
		}
	}
	return list
}

func (s *superblock) has(x feature) bool {
	return [3]uint32{s.Compat, s.Incompat, s.RoCompat}[x.word]&x.bit != 0
}
