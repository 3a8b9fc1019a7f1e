package node

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestParseSet(t *testing.T) {
	for _, tt := range []struct {
		words []string
		want  []ID
		err   string
	}{
		{[]string{"p1"}, []ID{1}, ""},
		{[]string{"p1", "p5-p7"}, []ID{1, 5, 6, 7}, ""},
		{[]string{"p4,p1-p2", "p9"}, []ID{4, 1, 2, 9}, ""},
		{[]string{"p251-p252"}, []ID{251, 252}, ""},
		{[]string{"p3-p3"}, []ID{3}, ""},
		{[]string{"p2", "p1-p3", "p2"}, []ID{2, 1, 3}, ""},
		{[]string{"all"}, []ID{1, 2, 3, 4}, ""},
		{[]string{"p3", "all"}, []ID{3, 1, 2, 4}, ""},
		{nil, nil, ""},

		{[]string{"p1-"}, nil, `nodes "p1-": want a range such as p1-p4`},
		{[]string{"-p1"}, nil, `nodes "-p1": want a range such as p1-p4`},
		{[]string{"p9-p5"}, nil, `nodes "p9-p5": want the lower one first, p5-p9`},
		{[]string{"p0"}, nil, `node "p0": want p1 to p252`},
		{[]string{"p1", "p253"}, nil, `node "p253": want p1 to p252`},
		{[]string{"p1-p253"}, nil, `node "p253": want p1 to p252`},
		{[]string{"p1-4"}, nil, `node "4": want p1 to p252`},
		{[]string{"p1-p2-p3"}, nil, `node "p2-p3": want p1 to p252`},
		{[]string{"p1,"}, nil, `node "": want p1 to p252`},
		{[]string{""}, nil, `node "": want p1 to p252`},
		{[]string{"ALL"}, nil, `node "ALL": want p1 to p252`},
		{[]string{"all-p3"}, nil, `node "all": want p1 to p252`},
	} {
		got, err := ParseSet(tt.words, []ID{1, 2, 3, 4})
		if !slices.Equal(got, tt.want) || (err != nil) != (tt.err != "") || err != nil && err.Error() != tt.err {
			t.Errorf("ParseSet(%q) = %v, %v; want %v, %q", tt.words, got, err, tt.want, tt.err)
		}
	}
	if set, err := ParseSet([]string{"all"}, nil); err == nil {
		t.Errorf("all of no nodes is %v", set)
	}
}

func TestParseSetHasEachOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOf(rapid.StringMatching(`p[0-9]{1,3}(-p[0-9]{1,3})?(,p[1-9])?`)).Draw(t, "words")
		set, err := ParseSet(words, nil)
		if err != nil && set != nil {
			t.Fatalf("ParseSet(%q) = %v and %v", words, set, err)
		}
		if sorted := slices.Compact(slices.Sorted(slices.Values(set))); len(sorted) != len(set) || len(set) > int(MaxID) {
			t.Fatalf("ParseSet(%q) = %v", words, set)
		}
	})
}
