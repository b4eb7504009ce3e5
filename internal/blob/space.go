package blob

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/octavo/octavo/internal/fault"
)

// Space tells how much the store can still take, and how large its disk is.
func (f *Folder) Space() (free, total int64, err error) {
	d, err := f.root.Open(".")
	if err != nil {
		return 0, 0, err
	}
	defer d.Close()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(d.Fd()), &st); err != nil {
		return 0, 0, fmt.Errorf("free space of the blob folder: %w", err)
	}
	return int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize, nil
}

// Low says why nothing more is taken, or nil while there is room (reliability-and-security.md M17). It is
// asked before every upload and should be asked before a task is started.
func (f *Folder) Low() error {
	free, total, err := f.Space()
	if err != nil {
		return err
	}
	percent := 100 * float64(free) / float64(max(total, 1))
	if total == 0 || free >= f.low.LowBytes && percent >= f.low.LowPercent {
		return nil // a total of 0 is a share that does not tell
	}
	return fault.Busyf("The blob store is low on space: %s of %s (%.1f %%) are free, and below %s or %.3g %% nothing new is stored. Free some space on it.",
		amount(free), amount(total), percent, amount(f.low.LowBytes), f.low.LowPercent)
}

func amount(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d bytes", max(n, 0))
}
