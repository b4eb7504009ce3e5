package hub

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"

	"github.com/octavo/octavo/internal/secret"
)

// TestPieces: what was sealed in pieces opens as it was, however it is read; and nothing opens that was changed.
func TestPieces(t *testing.T) {
	ring, err := secret.NewRing(secret.NewKey())
	must(t, err)
	open := func(sealed []byte, part string) ([]byte, error) {
		return io.ReadAll(&opening{ring: ring, place: partPlace("id", asked, part), from: io.NopCloser(iotest.HalfReader(bytes.NewReader(sealed)))})
	}
	for _, size := range []int{0, 1, pieceSize - 1, pieceSize, pieceSize + 1, 2 * pieceSize, 2*pieceSize + 77} {
		plain, err := io.ReadAll(io.LimitReader(&letters{}, int64(size)))
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := io.ReadAll(&sealing{ring: ring, place: partPlace("id", asked, "p"), from: iotest.HalfReader(bytes.NewReader(plain))})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := open(sealed, "p"); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("%d of %d bytes, %v", len(got), size, err)
		}
		if size == 0 {
			continue
		}
		if _, err := open(sealed, "q"); err == nil {
			t.Fatal("it opens as another part")
		}
		for _, at := range []int{0, 5, 12, len(sealed) / 2, len(sealed) - 1} {
			changed := bytes.Clone(sealed)
			changed[at] ^= 1
			if _, err := open(changed, "p"); err == nil {
				t.Fatalf("%d bytes: byte %d was changed", size, at)
			}
		}
		if len(sealed) > pieceSealed {
			if _, err := open(sealed[pieceSealed:], "p"); err == nil {
				t.Fatal("it opens without its first piece")
			}
		}
	}
}
