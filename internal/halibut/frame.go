package halibut

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

const (
	// A large message's last write must be of a size that .NET's inflater sees the end in (tentacle-protocol.md 1.8).
	largeMessage = 8 << 10
	lastWrite    = 4 << 10
	chunk        = 64 << 10 // of writes, so that a deadline covers a piece and not a gigabyte
)

var (
	deflaters = sync.Pool{New: func() any {
		w, _ := flate.NewWriter(nil, flate.DefaultCompression) // fails for a bad level only
		return w
	}}
	inflaters = sync.Pool{New: func() any { return flate.NewReader(bytes.NewReader(nil)) }}
)

// writeMessage sends a document as one raw DEFLATE stream, small ones in one write.
func writeMessage(w io.Writer, doc []byte) error {
	var buf bytes.Buffer
	deflater := deflaters.Get().(*flate.Writer)
	defer deflaters.Put(deflater)
	deflater.Reset(&buf)
	_, err := deflater.Write(doc)
	if err = errors.Join(err, deflater.Close()); err != nil {
		return fmt.Errorf("deflate: %w", err)
	}
	out := buf.Bytes()
	if len(out) > largeMessage {
		for first := out[:len(out)-lastWrite]; len(first) > 0; {
			n := min(len(first), chunk)
			if _, err := w.Write(first[:n]); err != nil {
				return err
			}
			first = first[n:]
		}
		out = out[len(out)-lastWrite:]
	}
	_, err = w.Write(out)
	return err
}

// byteReader is what a DEFLATE reader needs to take not a byte more than the stream's.
type byteReader interface {
	io.Reader
	io.ByteReader
}

// readMessage reads one document and exactly its bytes, up to limit of them deflated and inflated.
func readMessage(r byteReader, limit int64) ([]byte, error) {
	inflater := inflaters.Get().(io.ReadCloser)
	defer inflaters.Put(inflater)
	if err := inflater.(flate.Resetter).Reset(&limitedReader{r, limit}, nil); err != nil {
		return nil, fmt.Errorf("inflate: %w", err)
	}
	var doc bytes.Buffer
	n, err := io.Copy(&doc, io.LimitReader(inflater, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read a message: %w", err)
	}
	if n > limit {
		return nil, errTooLarge
	}
	return doc.Bytes(), nil
}

var errTooLarge = errors.New("the message is larger than is taken")

// limitedReader ends a stream that goes on too long with an error, not with an end that could be believed.
type limitedReader struct {
	r    byteReader
	left int64
}

func (l *limitedReader) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errTooLarge
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}

func (l *limitedReader) ReadByte() (byte, error) {
	if l.left <= 0 {
		return 0, errTooLarge
	}
	l.left--
	return l.r.ReadByte()
}

// writeStream sends one data stream (tentacle-protocol.md 1.12). A source that is shorter than declared is an error,
// and the connection must go; one that grew meanwhile is cut.
func writeStream(w io.Writer, s *DataStream) error {
	head := binary.LittleEndian.AppendUint64(append([]byte(nil), s.ID[:]...), uint64(s.Length))
	from, err := s.Open()
	if err != nil {
		return fmt.Errorf("open data stream %s: %w", s.ID, err)
	}
	defer from.Close()
	if _, err := w.Write(head); err != nil {
		return err
	}
	n, err := io.CopyBuffer(onlyWriter{w}, io.LimitReader(from, s.Length), make([]byte, chunk))
	if err == nil && n < s.Length {
		err = fmt.Errorf("data stream %s ended after %d of %d bytes", s.ID, n, s.Length)
	}
	if err == nil {
		_, err = w.Write(head[16:])
	}
	return err
}

// onlyWriter hides ReadFrom, which would choose writes of its own size.
type onlyWriter struct{ io.Writer }

// readStreams reads the data streams that a message announced into temporary files in dir, in whichever order they
// come. After an error none is left.
func readStreams(r io.Reader, heads []streamHead, dir string) (_ map[GUID]*DataStream, err error) {
	got := make(map[GUID]*DataStream, len(heads))
	defer func() {
		if err != nil {
			closeStreams(got)
		}
	}()
	awaited := make(map[GUID]int64, len(heads))
	for _, h := range heads {
		awaited[h.id] = h.length
	}
	for range heads {
		var head [24]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return nil, fmt.Errorf("read the head of a data stream: %w", noEOF(err))
		}
		id, length := GUID(head[:16]), int64(binary.LittleEndian.Uint64(head[16:]))
		if want, ok := awaited[id]; !ok || want != length {
			return nil, fmt.Errorf("data stream %s of %d bytes was not announced so", id, length)
		}
		delete(awaited, id)
		if got[id], err = readStream(r, id, length, dir); err != nil {
			return nil, err
		}
	}
	return got, nil
}

func readStream(r io.Reader, id GUID, length int64, dir string) (_ *DataStream, err error) {
	s, err := keepStream(r, id, length, dir)
	if err != nil {
		return nil, err
	}
	var tail [8]byte
	if _, err = io.ReadFull(r, tail[:]); err != nil {
		err = fmt.Errorf("read the end of data stream %s: %w", id, noEOF(err))
	} else if again := int64(binary.LittleEndian.Uint64(tail[:])); again != length {
		err = fmt.Errorf("data stream %s says it has %d bytes, then %d", id, length, again)
	}
	if err != nil {
		_ = s.Close() // the first error tells more
		return nil, err
	}
	return s, nil
}

// keepStream copies a stream's bytes, of which there must be length, into a temporary file.
func keepStream(r io.Reader, id GUID, length int64, dir string) (_ *DataStream, err error) {
	file, err := os.CreateTemp(dir, "octavo-stream-*")
	if err != nil {
		return nil, fmt.Errorf("a place for data stream %s: %w", id, err)
	}
	defer func() {
		err = errors.Join(err, file.Close())
		if err != nil {
			_ = os.Remove(file.Name()) // the first error tells more
		}
	}()
	n, err := io.CopyBuffer(onlyWriter{file}, io.LimitReader(r, length), make([]byte, chunk))
	if err != nil || n < length {
		return nil, fmt.Errorf("data stream %s broke after %d of %d bytes: %w", id, n, length, noEOF(err))
	}
	temp := &tempFile{file.Name()}
	return &DataStream{ID: id, Length: length, temp: temp, open: temp.open}, nil
}

func closeStreams(streams map[GUID]*DataStream) {
	for _, s := range streams {
		_ = s.Close() // a temporary file that stays is a nuisance only
	}
}

// noEOF makes an end in the middle of something an error that cannot be taken for a polite end.
func noEOF(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
