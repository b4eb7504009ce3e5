package archive

import (
	"archive/tar"
	"bytes"
	"compress/bzip2"
	"errors"
	"io"
	"io/fs"
	"strings"

	"github.com/klauspost/compress/gzip"

	"github.com/octavo/octavo/internal/fault"
)

// tarBlock is the unit of a tar stream; its end is marked by two blocks of zeros.
const tarBlock = 512

func walkTar(r io.Reader, format format, m *meter, visit visitor) error {
	var plain io.Reader = inReader{r, m}
	switch format {
	case formatTarGz:
		z, err := gzip.NewReader(plain)
		if err != nil {
			return tarFault(err)
		}
		defer z.Close()
		plain = z
	case formatTarBz2:
		plain = bzip2.NewReader(plain)
	}
	// Headers and padding are counted too: they are what a bomb of empty entries is made of.
	stream := &counter{r: plain, m: m}
	headers := tar.NewReader(stream)
	for {
		before := stream.n
		h, err := headers.Next()
		if errors.Is(err, io.EOF) {
			return finishTar(stream, before)
		}
		if err != nil {
			return tarFault(err)
		}
		e, ok, err := tarEntry(h)
		if err != nil {
			return err
		}
		if !ok {
			if err := m.addEntry(h.Name); err != nil {
				return err
			}
			continue
		}
		if h.Size > m.limits.File {
			return refuse("entry %q is larger than %d bytes, the most we take.", shorten(h.Name), m.limits.File)
		}
		if err := visit(e, headers); err != nil {
			return tarFault(err)
		}
		if _, err := io.Copy(io.Discard, headers); err != nil {
			return tarFault(err)
		}
	}
}

// finishTar sees that the end mark was there, that nothing follows it, and that the packing is whole.
func finishTar(stream *counter, before int64) error {
	if stream.n-before < 2*tarBlock || stream.zeros < 2*tarBlock {
		return refuse("it stops too early: the end of the tar is missing.")
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := stream.Read(buf)
		for _, b := range buf[:n] {
			if b != 0 {
				return refuse("there is data behind the end of the tar.")
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return tarFault(err)
		}
	}
}

// tarEntry translates a header; ok is false for what is no entry of the tree.
func tarEntry(h *tar.Header) (e entry, ok bool, err error) {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return e, false, refuse("entry %q is a sparse file.", shorten(h.Name))
		}
	}
	e = entry{name: strings.TrimPrefix(h.Name, "./"), size: h.Size, mtime: h.ModTime}
	mode := h.FileInfo().Mode()
	switch h.Typeflag {
	case tar.TypeXGlobalHeader:
		return e, false, nil
	case tar.TypeReg:
		if mode&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
			return e, false, refuse("entry %q is setuid or setgid.", shorten(h.Name))
		}
		e.kind, e.mode = kindFile, fileMode(mode)
		return e, true, nil
	case tar.TypeDir:
		if e.name == "" || e.name == "." { // "tar -C folder ." begins with the folder itself
			return e, false, nil
		}
		e.kind, e.mode = kindFolder, folderMode(mode)
		return e, true, nil
	case tar.TypeSymlink:
		e.kind, e.target = kindSymlink, h.Linkname
		return e, true, nil
	case tar.TypeLink:
		e.kind, e.target = kindHardLink, strings.TrimPrefix(h.Linkname, "./")
		return e, true, nil
	case tar.TypeGNUSparse:
		return e, false, refuse("entry %q is a sparse file.", shorten(h.Name))
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return e, false, refuse("entry %q is a device or a pipe.", shorten(h.Name))
	default:
		return e, false, refuse("entry %q has the unknown type %q.", shorten(h.Name), h.Typeflag)
	}
}

// fileMode keeps what a package may say about a file: read and execute bits, and that the owner may write.
func fileMode(m fs.FileMode) fs.FileMode { return m&0o755 | 0o600 }

func folderMode(m fs.FileMode) fs.FileMode { return m&0o755 | 0o700 }

// tarFault turns what the libraries say into a refusal, and leaves faults, cancellations and the disk's errors.
func tarFault(err error) error {
	var f *fault.Fault
	var structural bzip2.StructuralError
	switch {
	case errors.As(err, &f):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return refuse("it stops too early.")
	case errors.Is(err, tar.ErrHeader):
		return refuse("it is not a tar, or a header in it is broken.")
	case errors.Is(err, gzip.ErrHeader):
		return refuse("it is not packed with gzip, or there is data behind its end.")
	case errors.Is(err, gzip.ErrChecksum):
		return refuse("its sum is wrong: it was changed or damaged.")
	case errors.As(err, &structural):
		return refuse("it is not packed rightly with bzip2 (%v).", structural)
	case isCorrupt(err):
		return refuse("its packed data is broken (%v).", err)
	}
	return err
}

// counter counts the bytes of a tar stream, and how many zeros it ended with so far.
type counter struct {
	r     io.Reader
	m     *meter
	n     int64
	zeros int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if tail := len(bytes.TrimRight(p[:n], "\x00")); tail > 0 {
		c.zeros = int64(n - tail)
	} else {
		c.zeros += int64(n)
	}
	if over := c.m.addOut(int64(n)); over != nil {
		return 0, over
	}
	return n, err
}
