package halibut

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// DataStream stands in a message for bytes that follow it raw (tentacle-protocol.md 1.12).
// A contract holds it as a pointer; nil is null. The bytes never are in memory as a whole:
// one to be sent is opened anew for every attempt, one received is a temporary file.
type DataStream struct {
	ID     GUID  `bson:"id"`
	Length int64 `bson:"length"`

	open func() (io.ReadCloser, error)
	temp *tempFile // of a received stream
}

// tempFile is ours until Close or SaveAs; copies of a stream share it.
type tempFile struct{ path string }

func (f *tempFile) open() (io.ReadCloser, error) {
	if f.path == "" {
		return nil, errNoContent
	}
	return os.Open(f.path)
}

var errNoContent = errors.New("this data stream has no content: it was not received yet, or was closed")

// HalibutType is the $type of a stream that is a parameter or a result.
func (*DataStream) HalibutType() string { return "Halibut.DataStream, Halibut" }

// NewStream offers length bytes; open is called once per attempt to send them.
func NewStream(length int64, open func() (io.ReadCloser, error)) *DataStream {
	return &DataStream{ID: NewGUID(), Length: length, open: open}
}

// BytesStream offers a small content that is in memory anyway.
func BytesStream(content []byte) *DataStream {
	return NewStream(int64(len(content)), func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	})
}

// FileStream offers a file as long as it is now.
func FileStream(path string) (*DataStream, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return NewStream(info.Size(), func() (io.ReadCloser, error) { return os.Open(path) }), nil
}

// Open reads the content from its beginning.
func (s *DataStream) Open() (io.ReadCloser, error) {
	if s.open == nil {
		return nil, errNoContent
	}
	return s.open()
}

// SaveAs puts the content at path, replacing what is there. A received stream is moved if it can be, so it is written once.
func (s *DataStream) SaveAs(path string, mode os.FileMode) error {
	if s.temp != nil && s.temp.path != "" && os.Chmod(s.temp.path, mode) == nil && os.Rename(s.temp.path, path) == nil {
		s.temp.path = ""
		s.open = func() (io.ReadCloser, error) { return os.Open(path) }
		return nil
	}
	return s.copyTo(path, mode)
}

// copyTo writes beside the destination and renames, so that nobody sees half a file.
func (s *DataStream) copyTo(path string, mode os.FileMode) error {
	from, err := s.Open()
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.CreateTemp(filepath.Dir(path), ".octavo-stream-*")
	if err != nil {
		return err
	}
	defer os.Remove(to.Name()) // gone already when all went well
	_, err = io.Copy(to, from)
	err = errors.Join(err, to.Chmod(mode), to.Close())
	if err != nil {
		return err
	}
	return os.Rename(to.Name(), path)
}

// Close removes the temporary file of a received stream; for others it does nothing.
func (s *DataStream) Close() error {
	if s == nil || s.temp == nil || s.temp.path == "" {
		return nil
	}
	path := s.temp.path
	s.temp.path = ""
	return os.Remove(path)
}
