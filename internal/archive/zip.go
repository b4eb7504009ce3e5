package archive

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/flate"
)

// Signatures and lengths of the records of a zip, as in its format notes (APPNOTE 4.3).
const (
	sigLocal   = 0x04034b50
	sigCentral = 0x02014b50
	sigEnd     = 0x06054b50
	sigEnd64   = 0x06064b50
	sigLoc64   = 0x07064b50

	sigDescriptor = 0x08074b50

	lenLocal   = 30
	lenCentral = 46
	lenEnd     = 22
	lenEnd64   = 56
	lenLoc64   = 20

	flagEncrypted  = 1 << 0
	flagDescriptor = 1 << 3
	flagPatch      = 1 << 5
	flagStrong     = 1 << 6
	flagMasked     = 1 << 13

	methodStore   = 0
	methodDeflate = 8
)

var le = binary.LittleEndian

// zipEntry is a record of the central directory.
type zipEntry struct {
	name          string
	flags, method uint16
	crc           uint32
	packed, size  int64
	offset        int64 // of the local header, from the start of the zip
	unixMode      uint32
	hasMode       bool
	dosFolder     bool // what DOS and Windows programs mark as a folder
	mtime         time.Time
	start, end    int64 // of all that belongs to it in the file
	data          int64 // where its packed data begins
}

// directory is what the end record says.
type directory struct {
	entries int64
	size    int64
	offset  int64 // from the start of the zip
	start   int64 // of the directory, in the file
	base    int64 // bytes before the zip, as in an executable .jar
}

// walkZip reads a zip. Only a .jar may begin with something else: a script that starts it.
func walkZip(r io.ReaderAt, size int64, jar bool, m *meter, visit visitor) error {
	d, err := readEnd(r, size)
	if err != nil {
		return err
	}
	if d.entries > int64(m.limits.Entries) {
		return refuse("it has more than %d entries, the most we take.", m.limits.Entries)
	}
	if d.size > 3*m.limits.Names {
		return refuse("its directory takes more than %d bytes.", 3*m.limits.Names)
	}
	entries, err := readDirectory(r, d)
	if err != nil {
		return err
	}
	for i := range entries {
		if err := readLocal(r, d, &entries[i]); err != nil {
			return err
		}
	}
	if err := refuseOverlaps(entries, d, jar); err != nil {
		return err
	}
	for _, z := range entries {
		if err := visitZip(r, z, m, visit); err != nil {
			return err
		}
	}
	return nil
}

// readEnd finds the one end record. A comment that holds a second one is how two readers come to see two
// different archives.
func readEnd(r io.ReaderAt, size int64) (directory, error) {
	var d directory
	tail := make([]byte, min(size, lenEnd+math.MaxUint16))
	if err := readFull(r, tail, size-int64(len(tail))); err != nil {
		return d, err
	}
	at := -1
	for i := len(tail) - lenEnd; i >= 0; i-- {
		if le.Uint32(tail[i:]) != sigEnd {
			continue
		}
		fits := i+lenEnd+int(le.Uint16(tail[i+20:])) == len(tail)
		switch {
		case at < 0 && !fits:
			return d, refuse("its end record is broken, or its comment holds another one.")
		case at < 0:
			at = i
		case fits: // one inside a stored entry does not
			return d, refuse("it has two end records.")
		}
	}
	if at < 0 {
		return d, refuse("it is not a zip, or it stops too early: its end record is missing.")
	}
	end := tail[at:]
	endAt := size - int64(len(end))
	if le.Uint16(end[4:]) != 0 || le.Uint16(end[6:]) != 0 || le.Uint16(end[8:]) != le.Uint16(end[10:]) {
		if le.Uint16(end[4:]) != math.MaxUint16 && le.Uint16(end[6:]) != math.MaxUint16 {
			return d, refuse("it is one part of a zip of several.")
		}
	}
	d.entries, d.size, d.offset = int64(le.Uint16(end[10:])), int64(le.Uint32(end[12:])), int64(le.Uint32(end[16:]))
	dirEnd := endAt
	if d.entries == math.MaxUint16 || d.size == math.MaxUint32 || d.offset == math.MaxUint32 {
		var err error
		if dirEnd, err = readEnd64(r, endAt, &d); err != nil {
			return d, err
		}
	}
	d.start = dirEnd - d.size
	d.base = d.start - d.offset
	if d.size < 0 || d.offset < 0 || d.start < 0 || d.base < 0 || d.entries*lenCentral > d.size {
		return d, refuse("its end record does not fit the rest of it.")
	}
	return d, nil
}

// readEnd64 reads the larger end record, if there is one, and gives the place where the directory ends.
func readEnd64(r io.ReaderAt, endAt int64, d *directory) (int64, error) {
	loc := make([]byte, lenLoc64)
	if endAt < lenLoc64+lenEnd64 {
		return endAt, nil
	}
	if err := readFull(r, loc, endAt-lenLoc64); err != nil {
		return 0, err
	}
	if le.Uint32(loc) != sigLoc64 {
		return endAt, nil // exactly 65,535 entries need no larger record
	}
	at := endAt - lenLoc64 - lenEnd64
	rec := make([]byte, lenEnd64)
	if err := readFull(r, rec, at); err != nil {
		return 0, err
	}
	if le.Uint32(rec) != sigEnd64 || le.Uint64(rec[4:]) != lenEnd64-12 {
		return 0, refuse("its ZIP64 end record is broken.")
	}
	entries, size, offset := le.Uint64(rec[32:]), le.Uint64(rec[40:]), le.Uint64(rec[48:])
	if max(entries, size, offset) > math.MaxInt64/lenCentral/2 {
		return 0, refuse("its ZIP64 end record holds numbers that cannot be.")
	}
	for _, both := range [][2]int64{
		{d.entries, int64(entries)}, {d.size, int64(size)}, {d.offset, int64(offset)},
	} {
		if both[0] != both[1] && both[0] != math.MaxUint16 && both[0] != math.MaxUint32 {
			return 0, refuse("its two end records disagree.")
		}
	}
	d.entries, d.size, d.offset = int64(entries), int64(size), int64(offset)
	if le.Uint64(loc[8:]) != size+offset { // the record follows the directory
		return 0, refuse("its ZIP64 locator points elsewhere.")
	}
	return at, nil
}

func readDirectory(r io.ReaderAt, d directory) ([]zipEntry, error) {
	buf := make([]byte, d.size)
	if err := readFull(r, buf, d.start); err != nil {
		return nil, err
	}
	entries := make([]zipEntry, 0, d.entries)
	for len(buf) > 0 {
		if len(buf) < lenCentral || le.Uint32(buf) != sigCentral {
			return nil, refuse("its directory is broken.")
		}
		nameLen, extraLen, commentLen := int(le.Uint16(buf[28:])), int(le.Uint16(buf[30:])), int(le.Uint16(buf[32:]))
		whole := lenCentral + nameLen + extraLen + commentLen
		if len(buf) < whole {
			return nil, refuse("its directory is broken.")
		}
		z := zipEntry{
			name:   string(buf[lenCentral : lenCentral+nameLen]),
			flags:  le.Uint16(buf[8:]),
			method: le.Uint16(buf[10:]),
			crc:    le.Uint32(buf[16:]),
			packed: int64(le.Uint32(buf[20:])),
			size:   int64(le.Uint32(buf[24:])),
			offset: int64(le.Uint32(buf[42:])),
			mtime:  dosTime(le.Uint16(buf[14:]), le.Uint16(buf[12:])),
		}
		if le.Uint16(buf[34:]) != 0 && le.Uint16(buf[34:]) != math.MaxUint16 {
			return nil, refuse("it is one part of a zip of several.")
		}
		switch attributes := le.Uint32(buf[38:]); buf[5] { // made by
		case 3, 19: // Unix, macOS
			z.unixMode = attributes >> 16
			z.hasMode = z.unixMode != 0
		case 0, 11, 14: // FAT, NTFS, VFAT
			z.dosFolder = attributes&0x10 != 0
		}
		if err := z.readExtra(buf[lenCentral+nameLen : lenCentral+nameLen+extraLen]); err != nil {
			return nil, err
		}
		entries = append(entries, z)
		buf = buf[whole:]
	}
	if int64(len(entries)) != d.entries {
		return nil, refuse("its directory has %d entries, but its end record says %d.", len(entries), d.entries)
	}
	return entries, nil
}

// readExtra takes the large sizes (ZIP64) and the Unix time out of the central extra field.
func (z *zipEntry) readExtra(extra []byte) error {
	seen64 := false
	for len(extra) >= 4 {
		tag, n := le.Uint16(extra), int(le.Uint16(extra[2:]))
		if len(extra) < 4+n {
			break // padding that some tools leave; it carries nothing
		}
		field := extra[4 : 4+n]
		extra = extra[4+n:]
		switch tag {
		case 0x0001:
			if seen64 {
				return refuse("entry %q has two ZIP64 fields.", shorten(z.name))
			}
			seen64 = true
			for _, v := range []*int64{&z.size, &z.packed, &z.offset} {
				if *v != math.MaxUint32 {
					continue
				}
				if len(field) < 8 || le.Uint64(field) > math.MaxInt64/4 {
					return refuse("the ZIP64 field of entry %q is broken.", shorten(z.name))
				}
				*v, field = int64(le.Uint64(field)), field[8:]
			}
		case 0x5455: // extended timestamp: flags, then the time of change
			if len(field) >= 5 && field[0]&1 != 0 {
				z.mtime = time.Unix(int64(int32(le.Uint32(field[1:]))), 0)
			}
		case 0x7075: // Unicode path: a second name, which readers may or may not believe
			if len(field) > 5 && string(field[5:]) != z.name {
				return refuse("entry %q has a second name.", shorten(z.name))
			}
		}
	}
	return nil
}

// readLocal reads the header in front of the data and holds it against the directory's.
func readLocal(r io.ReaderAt, d directory, z *zipEntry) error {
	z.start = d.base + z.offset
	if z.start < 0 || z.start+lenLocal > d.start {
		return refuse("entry %q does not lie inside the file.", shorten(z.name))
	}
	h := make([]byte, lenLocal)
	if err := readFull(r, h, z.start); err != nil {
		return err
	}
	if le.Uint32(h) != sigLocal {
		return refuse("entry %q has no header where the directory says.", shorten(z.name))
	}
	nameLen, extraLen := int(le.Uint16(h[26:])), int(le.Uint16(h[28:]))
	name := make([]byte, nameLen)
	if err := readFull(r, name, z.start+lenLocal); err != nil {
		return err
	}
	z.data = z.start + lenLocal + int64(nameLen) + int64(extraLen)
	z.end = z.data + z.packed
	switch {
	case string(name) != z.name:
		return refuse("entry %q is called %q in its own header.", shorten(z.name), shorten(string(name)))
	case le.Uint16(h[8:]) != z.method || le.Uint16(h[6:])&flagEncrypted != z.flags&flagEncrypted:
		return refuse("entry %q is packed differently in its own header.", shorten(z.name))
	case z.flags&(flagEncrypted|flagStrong|flagMasked) != 0:
		return refuse("entry %q is encrypted.", shorten(z.name))
	case z.flags&flagPatch != 0:
		return refuse("entry %q is a patch, not a file.", shorten(z.name))
	case z.method != methodStore && z.method != methodDeflate:
		return refuse("entry %q is packed with method %d; only stored and deflated entries are taken.", shorten(z.name), z.method)
	case z.method == methodStore && z.packed != z.size:
		return refuse("entry %q is stored, but its sizes differ.", shorten(z.name))
	case z.end > d.start:
		return refuse("entry %q does not lie inside the file.", shorten(z.name))
	}
	if (le.Uint16(h[6:])^z.flags)&flagDescriptor != 0 {
		return refuse("entry %q is packed differently in its own header.", shorten(z.name))
	}
	if z.flags&flagDescriptor != 0 {
		return readDescriptor(r, d, z)
	}
	packed, size := int64(le.Uint32(h[18:])), int64(le.Uint32(h[22:]))
	if le.Uint32(h[14:]) != z.crc || packed != z.packed && packed != math.MaxUint32 || size != z.size && size != math.MaxUint32 {
		return refuse("entry %q has another size or sum in its own header.", shorten(z.name))
	}
	return nil
}

// readDescriptor holds the sum and sizes that follow the data against the directory's. The record may begin
// with a signature, and its sizes may take four or eight bytes.
func readDescriptor(r io.ReaderAt, d directory, z *zipEntry) error {
	buf := make([]byte, min(24, d.start-z.end))
	if err := readFull(r, buf, z.end); err != nil {
		return err
	}
	long := le.AppendUint32(nil, z.crc)
	short := le.AppendUint32(le.AppendUint32(bytes.Clone(long), uint32(z.packed)), uint32(z.size))
	long = le.AppendUint64(le.AppendUint64(long, uint64(z.packed)), uint64(z.size))
	signature := le.AppendUint32(nil, sigDescriptor)
	for _, want := range [][]byte{
		append(bytes.Clone(signature), long...), append(bytes.Clone(signature), short...), long, short,
	} {
		if bytes.HasPrefix(buf, want) {
			z.end += int64(len(want))
			return nil
		}
	}
	return refuse("entry %q has another size or sum behind its data.", shorten(z.name))
}

// refuseOverlaps keeps one piece of packed data from being many files, as in a bomb without nesting.
func refuseOverlaps(entries []zipEntry, d directory, jar bool) error {
	order := slices.Clone(entries)
	slices.SortFunc(order, func(a, b zipEntry) int { return cmp.Compare(a.start, b.start) })
	if !jar && (d.base != 0 || len(order) > 0 && order[0].start != 0) {
		return refuse("there is data in front of the zip.")
	}
	end := d.base
	for _, z := range order {
		if z.start < end {
			return refuse("entry %q overlaps another.", shorten(z.name))
		}
		end = z.end
	}
	return nil
}

func visitZip(r io.ReaderAt, z zipEntry, m *meter, visit visitor) error {
	e, err := z.entry()
	if err != nil {
		return err
	}
	if z.size > m.limits.File {
		return refuse("entry %q is larger than %d bytes, the most we take.", shorten(z.name), m.limits.File)
	}
	packed := io.NewSectionReader(r, z.data, z.packed)
	body := &zipBody{z: z, packed: packed, sum: crc32.NewIEEE()}
	var plain io.Reader = inReader{packed, m}
	if z.method == methodDeflate {
		// The inflater takes single bytes from a buffer it is given, so that what it leaves over can be told.
		body.buffer = bufio.NewReader(plain)
		inflater := flate.NewReader(body.buffer)
		defer inflater.Close()
		plain = inflater
	}
	body.r = &outReader{r: plain, m: m, name: z.name, left: m.limits.File}
	if e.kind == kindSymlink {
		target, err := io.ReadAll(io.LimitReader(body, maxName+1))
		if err != nil {
			return err
		}
		e.target = string(target)
	}
	if err := visit(e, body); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, body)
	return err
}

// entry translates the directory's record into what is made of it.
func (z zipEntry) entry() (entry, error) {
	e := entry{name: z.name, size: z.size, mtime: z.mtime, mode: 0o644}
	if strings.HasSuffix(z.name, "/") {
		if z.size != 0 {
			return e, refuse("entry %q is a folder with content.", shorten(z.name))
		}
		e.kind, e.mode = kindFolder, 0o755
	}
	if z.dosFolder && e.kind == kindFile {
		return e, refuse("entry %q is a folder by its name or its mode, but not by both.", shorten(z.name))
	}
	if !z.hasMode {
		return e, nil
	}
	perm := fs.FileMode(z.unixMode & 0o777)
	switch typ := z.unixMode & 0o170000; {
	case typ == 0o040000 && e.kind == kindFolder, typ == 0 && e.kind == kindFolder:
		e.mode = folderMode(perm)
	case typ == 0o100000 && e.kind == kindFile, typ == 0 && e.kind == kindFile:
		if z.unixMode&0o6000 != 0 {
			return e, refuse("entry %q is setuid or setgid.", shorten(z.name))
		}
		e.mode = fileMode(perm)
	case typ == 0o120000 && e.kind == kindFile:
		e.kind = kindSymlink
	case typ == 0o040000, typ == 0o100000, typ == 0o120000:
		return e, refuse("entry %q is a folder by its name or its mode, but not by both.", shorten(z.name))
	default:
		return e, refuse("entry %q is a device, a pipe or a socket.", shorten(z.name))
	}
	return e, nil
}

// zipBody gives the content and checks size, sum and what was used at its end.
type zipBody struct {
	z      zipEntry
	r      io.Reader
	packed *io.SectionReader
	buffer *bufio.Reader // nil for a stored entry
	sum    hash.Hash32
	n      int64
	done   error
}

func (b *zipBody) Read(p []byte) (int, error) {
	if b.done != nil {
		return 0, b.done
	}
	n, err := b.r.Read(p)
	b.n += int64(n)
	b.sum.Write(p[:n])
	switch {
	case b.n > b.z.size:
		err = refuse("entry %q is larger than the archive says.", shorten(b.z.name))
	case errors.Is(err, io.EOF):
		err = b.atEnd()
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = refuse("entry %q stops too early.", shorten(b.z.name))
	case err != nil && isCorrupt(err):
		err = refuse("the packed data of entry %q is broken.", shorten(b.z.name))
	}
	b.done = err
	return n, err
}

func (b *zipBody) atEnd() error {
	switch {
	case b.n != b.z.size:
		return refuse("entry %q is smaller than the archive says.", shorten(b.z.name))
	case b.sum.Sum32() != b.z.crc:
		return refuse("the sum of entry %q is wrong: it was changed or damaged.", shorten(b.z.name))
	case b.leftOver() != 0:
		return refuse("entry %q has data behind its end.", shorten(b.z.name))
	}
	return io.EOF
}

// leftOver is how much packed data the content did not need.
func (b *zipBody) leftOver() int64 {
	at, _ := b.packed.Seek(0, io.SeekCurrent) // asking for the position cannot fail
	left := b.z.packed - at
	if b.buffer != nil {
		left += int64(b.buffer.Buffered())
	}
	return left
}

func isCorrupt(err error) bool {
	var corrupt flate.CorruptInputError
	return errors.As(err, &corrupt)
}

// readFull reads exactly len(p) bytes at off; a short file is the archive's fault.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if errors.Is(err, io.EOF) || err == nil {
		return refuse("it stops too early.")
	}
	return err
}

// dosTime reads the two words of a FAT time stamp; they name no zone, so UTC is taken.
func dosTime(date, clock uint16) time.Time {
	if date == 0 {
		return time.Time{}
	}
	return time.Date(int(date>>9)+1980, time.Month(date>>5&0xf), int(date&0x1f),
		int(clock>>11), int(clock>>5&0x3f), int(clock&0x1f)*2, 0, time.UTC)
}
