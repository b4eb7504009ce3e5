package mask

import (
	"encoding/binary"
	"slices"
)

// Mask is what a secret becomes.
const Mask = "********"

const (
	gram       = 4 // no pattern is shorter
	filterBits = 17
)

// Weak tells that a value is too short to be masked: too much else would be.
func Weak(value string) bool { return len(value) < gram }

// Set finds the values it was made of. It does not change, and any number of streams may use it at once.
type Set struct {
	// The automaton, one entry for each node. Nodes are in depth-first order, so the first child of a node is
	// the next one, if it is deeper. Node 0 is the root.
	label   []byte
	depth   []int32
	sibling []int32 // the next child of the same parent; 0 is none
	fail    []int32 // the node of the longest proper suffix that begins a pattern
	found   []int32 // length of the longest pattern that ends here; 0 is none
	root    [256]int32

	filter []uint64 // a bit for each hash of a pattern's first four bytes
}

// NewSet makes a set. Empty and weak values are left out.
func NewSet(values []string) *Set {
	all := map[string]bool{}
	for _, v := range values {
		for _, p := range patterns(v) {
			all[p] = true
		}
	}
	sorted := make([]string, 0, len(all))
	for p := range all {
		sorted = append(sorted, p)
	}
	slices.Sort(sorted)
	return build(sorted)
}

// Empty tells that there is nothing to look for.
func (s *Set) Empty() bool { return len(s.label) <= 1 }

// build makes the automaton of sorted patterns without duplicates.
func build(sorted []string) *Set {
	s := &Set{label: []byte{0}, depth: []int32{0}, sibling: []int32{0}, fail: []int32{0}, found: []int32{0}, filter: make([]uint64, 1<<filterBits/64)}
	path := []int32{0} // the nodes of the last pattern; path[d] has depth d
	last := ""
	for _, p := range sorted {
		shared := 0
		for shared < len(last) && last[shared] == p[shared] { // sorted: last is never longer and equal
			shared++
		}
		for d := shared; d < len(p); d++ {
			n := int32(len(s.label))
			if d == shared && len(path) > shared+1 {
				s.sibling[path[shared+1]] = n
			}
			s.label = append(s.label, p[d])
			s.depth = append(s.depth, int32(d+1))
			s.sibling = append(s.sibling, 0)
			s.fail = append(s.fail, 0)
			s.found = append(s.found, 0)
			path = append(path[:d+1], n)
		}
		s.found[path[len(p)]] = int32(len(p))
		last = p
		h := hash(binary.LittleEndian.Uint32([]byte(p[:gram])))
		s.filter[h/64] |= 1 << (h % 64)
	}
	for n := s.child(0); n != 0; n = s.sibling[n] {
		s.root[s.label[n]] = n
	}
	s.link()
	return s
}

// link sets the failure links, shallow nodes first.
func (s *Set) link() {
	var queue []int32
	for n := s.child(0); n != 0; n = s.sibling[n] {
		queue = append(queue, n)
	}
	for len(queue) > 0 {
		n := queue[0]
		queue = queue[1:]
		if s.found[n] == 0 {
			s.found[n] = s.found[s.fail[n]]
		}
		for m := s.child(n); m != 0; m = s.sibling[m] {
			s.fail[m] = s.next(s.fail[n], s.label[m])
			queue = append(queue, m)
		}
	}
}

func (s *Set) child(n int32) int32 {
	if m := n + 1; int(m) < len(s.depth) && s.depth[m] == s.depth[n]+1 {
		return m
	}
	return 0
}

func (s *Set) next(n int32, c byte) int32 {
	for n != 0 {
		for m := s.child(n); m != 0; m = s.sibling[m] {
			if s.label[m] == c {
				return m
			}
		}
		n = s.fail[n]
	}
	return s.root[c]
}

func hash(x uint32) uint32 { return x * 0x9E3779B1 >> (32 - filterBits) }

// span is a part of a text, from start to end.
type span struct{ start, end int }

// scan adds all occurrences in text to spans, overlapping ones as one, and gives the number of bytes at the
// end that begin a pattern and are not all of it.
func (s *Set) scan(text []byte, spans []span) (_ []span, live int) {
	i, n := 0, len(text)
	for {
		for i+gram <= n {
			h := hash(binary.LittleEndian.Uint32(text[i:]))
			if s.filter[h/64]&(1<<(h%64)) != 0 {
				break
			}
			i++
		}
		node, least := int32(0), i+gram
		for i < n {
			node = s.next(node, text[i])
			i++
			if l := int(s.found[node]); l > 0 {
				spans = add(spans, span{i - l, i})
			}
			if i >= least && s.depth[node] < gram {
				break
			}
		}
		if i >= n {
			for node != 0 && s.child(node) == 0 {
				node = s.fail[node] // found whole: only what can grow is live
			}
			return spans, int(s.depth[node])
		}
		i -= int(s.depth[node]) // the filter judges these again, as four bytes
	}
}

// add keeps spans sorted and apart; one that overlaps earlier ones swallows them.
func add(spans []span, x span) []span {
	for len(spans) > 0 && spans[len(spans)-1].end > x.start {
		x.start = min(x.start, spans[len(spans)-1].start)
		spans = spans[:len(spans)-1]
	}
	return append(spans, x)
}
