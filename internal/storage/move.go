package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/octavo/octavo/internal/blob"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/fault"
)

// Mover moves content to another place, or says where it is already. Nothing is removed from the old place.
type Mover struct {
	Config
	Say func(text string)
}

// Absolute makes the path of a folder mean the same on every node.
func Absolute(location string) (string, error) {
	if blob.IsS3(location) {
		return location, nil
	}
	return filepath.Abs(location)
}

// checkKind refuses a kind there is not.
func checkKind(kind string) error {
	var names []string
	for _, k := range Kinds {
		if k.Name == kind || kind == "" {
			return nil
		}
		names = append(names, k.Name)
	}
	return fault.InvalidField("kind", "There is no kind %q of content. The kinds are %s.", kind, strings.Join(names, ", "))
}

// Move brings a kind of content, or with "" everything that has no place of its own, to a location while nodes run
// (behaviour.md 94). What was begun goes on where it was.
func (m Mover) Move(ctx context.Context, kind, to string) error {
	if err := checkKind(kind); err != nil {
		return err
	}
	at, err := m.place(ctx, kind)
	if err != nil {
		return err
	}
	if at.Other != nil && at.Location != to && *at.Other != to {
		other := *at.Other
		return fault.Conflictf("The content is on its way between %s and %s already. End that first, with the same --to as before.", m.named(at.Location), m.named(other))
	}
	if at.Other == nil && at.Location == to {
		m.Say("It is there already.")
		return nil
	}
	from := at.Location
	if at.Location == to {
		from = *at.Other // it was switched already
	}
	a, err := blob.Open(ctx, m.named(from), m.Spool, m.Options)
	if err != nil {
		return err
	}
	defer a.Close()
	if err := blob.Belongs(ctx, a, m.Cluster, false); err != nil {
		return err
	}
	b, err := blob.Open(ctx, to, m.Spool, m.Options)
	if err != nil {
		return err
	}
	defer b.Close()
	same, err := sameStore(ctx, a, b)
	if err != nil {
		return err
	}
	if same {
		m.Say("It is the same store under another name; only the name is written down.")
		return m.step(ctx, kind, &Place{Location: to})
	}
	if err := m.claim(ctx, b); err != nil {
		return err
	}
	if at.Location != to {
		if at.Other == nil {
			if err := m.step(ctx, kind, &Place{Location: from, Other: &to}); err != nil {
				return err
			}
		} else if err := m.followed(ctx); err != nil {
			return err
		}
		if err := m.copyAll(ctx, kind, a, b); err != nil {
			return err
		}
		m.Say("Nodes go over to " + to + ".")
		if err := m.step(ctx, kind, &Place{Location: to, Other: &from}); err != nil {
			return err
		}
	} else if err := m.followed(ctx); err != nil {
		return err
	}
	if err := m.copyAll(ctx, kind, a, b); err != nil { // what came meanwhile
		return err
	}
	after := &Place{Location: to}
	if whole, err := m.place(ctx, ""); err != nil {
		return err
	} else if kind != "" && whole.Location == to && whole.Other == nil {
		after = nil // back with the others
	}
	if err := m.step(ctx, kind, after); err != nil {
		return err
	}
	m.Say("Done. The old store " + m.named(from) + " is as it was; remove it when you like.")
	return nil
}

// Put writes down where everything is, without copying: the content was brought there by other means while all nodes were
// stopped, or there is none yet (behaviour.md 81, 82, 94).
func (m Mover) Put(ctx context.Context, to string) error {
	at, err := m.place(ctx, "")
	if err != nil {
		return err
	}
	own := Places{}
	if err := m.DB.Read(ctx, func(tx *db.Tx) (err error) { own, err = ReadPlaces(ctx, tx); return err }); err != nil {
		return err
	}
	delete(own.Of, "")
	b, err := blob.Open(ctx, to, m.Spool, m.Options)
	if err != nil {
		return err
	}
	defer b.Close()
	if at.Location == to && at.Other == nil && len(own.Of) == 0 {
		m.Say("It is " + to + " already.")
		return errors.Join(blob.Belongs(ctx, b, m.Cluster, false), makeFolders(to))
	}
	if err := m.stopped(ctx, to); err != nil {
		return err
	}
	// Everything that can be seen where it is must be there.
	old, err := Open(ctx, m.Config, false)
	if err != nil {
		m.Say("Where content was cannot be read, so nothing is compared: " + err.Error())
	} else {
		defer old.Close()
		if err := m.claim(ctx, b); err != nil {
			return err
		}
		missing := 0
		first := ""
		for info, err := range old.List(ctx, "") {
			if err != nil {
				return err
			}
			if there, err := b.Stat(ctx, info.Key); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			} else if err != nil || there.Size != info.Size {
				if missing++; first == "" {
					first = info.Key
				}
			}
		}
		if missing > 0 {
			return fault.Conflictf("%s lacks %d pieces of content that are where content is now (such as %s). Copy them with: octavo migrate-storage --to %s", to, missing, first, to)
		}
	}
	if err := blob.Belongs(ctx, b, m.Cluster, false); err != nil {
		return err
	}
	if err := makeFolders(to); err != nil {
		return err
	}
	return m.DB.InTx(ctx, func(tx *db.Tx) error {
		for kind := range own.Of {
			if _, err := setPlace(ctx, tx, kind, nil); err != nil {
				return err
			}
		}
		_, err := setPlace(ctx, tx, "", &Place{Location: to})
		return err
	})
}

func (m Mover) named(location string) string {
	if location == "" {
		return m.Own
	}
	return location
}

// place is where a kind is now.
func (m Mover) place(ctx context.Context, kind string) (at Place, err error) {
	err = m.DB.Read(ctx, func(tx *db.Tx) error {
		all, err := ReadPlaces(ctx, tx)
		var own bool
		if at, own = all.Of[kind]; !own {
			if at = all.Of[""]; at.Other != nil {
				return fault.Conflictf("Content is on its way between %s and %s. End that first.", m.named(at.Location), m.named(*at.Other))
			}
		}
		return err
	})
	return at, err
}

// claim marks an empty store as this cluster's own, and refuses one that is not.
func (m Mover) claim(ctx context.Context, b blob.Store) error {
	_, err := blob.Owner(ctx, b)
	if errors.Is(err, fs.ErrNotExist) {
		for info, err := range b.List(ctx, "") {
			if err != nil {
				return err
			}
			return fault.InvalidField("to", "The store is not empty (it has %s) and not this cluster's. Give an empty one.", info.Key)
		}
		return blob.Belongs(ctx, b, m.Cluster, true)
	}
	if err != nil {
		return err
	}
	return blob.Belongs(ctx, b, m.Cluster, false)
}

func sameStore(ctx context.Context, a, b blob.Store) (bool, error) {
	key := fmt.Sprintf("try/same-%d", time.Now().UnixNano())
	if _, _, err := a.Put(ctx, key, strings.NewReader(key)); err != nil {
		return false, err
	}
	_, err := b.Stat(ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		return false, a.Delete(ctx, key)
	}
	return err == nil, errors.Join(err, a.Delete(ctx, key))
}

// step changes a place and waits until every node follows.
func (m Mover) step(ctx context.Context, kind string, at *Place) error {
	err := m.DB.InTx(ctx, func(tx *db.Tx) error {
		_, err := setPlace(ctx, tx, kind, at)
		return err
	})
	if err != nil {
		return err
	}
	return m.followed(ctx)
}

// stopped refuses while a node runs.
func (m Mover) stopped(ctx context.Context, to string) error {
	p := pulse{dead: m.dead()}
	for told := false; ; told = true {
		var up []late
		if err := m.DB.Read(ctx, func(tx *db.Tx) (err error) { up, err = behind(ctx, tx, math.MaxInt64); return err }); err != nil {
			return err
		}
		maybe, sure := p.look(up)
		switch {
		case len(sure) > 0:
			return fault.Conflictf("Nodes are running: %s. Stop them first, or move the content while they run with: octavo migrate-storage --to %s", names(sure), to)
		case len(maybe) == 0:
			return nil
		case !told:
			m.Say("Looking whether these nodes still run: " + names(maybe))
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (m Mover) dead() time.Duration {
	if m.Timing.Dead > 0 {
		return m.Timing.Dead
	}
	return DefaultTiming.Dead
}

// followed waits until every node that is up acts upon the places as they are.
func (m Mover) followed(ctx context.Context) error {
	told := time.Now()
	p := pulse{dead: m.dead()}
	for {
		var behindUs []late
		err := m.DB.Read(ctx, func(tx *db.Tx) error {
			all, err := ReadPlaces(ctx, tx)
			if err != nil {
				return err
			}
			behindUs, err = behind(ctx, tx, all.Version)
			return err
		})
		if err != nil {
			return err
		}
		behindUs, _ = p.look(behindUs)
		if len(behindUs) == 0 {
			return nil
		}
		if time.Since(told) > 15*time.Second {
			told = time.Now()
			m.Say("Waiting until these nodes follow: " + names(behindUs))
		}
		select {
		case <-ctx.Done():
			return fault.Because(fault.Busyf("These nodes do not follow yet: %s. Run the same command again to go on.", names(behindUs)), context.Cause(ctx))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// copiers work side by side.
const copiers = 4

// copyAll copies what b lacks of a kind, reads all of that back, and gives up if something cannot be copied whole.
func (m Mover) copyAll(ctx context.Context, kind string, a, b blob.Store) error {
	var own Places
	if err := m.DB.Read(ctx, func(tx *db.Tx) (err error) { own, err = ReadPlaces(ctx, tx); return err }); err != nil {
		return err
	}
	there := map[string]int64{}
	for info, err := range b.List(ctx, "") {
		if err != nil {
			return err
		}
		there[info.Key] = info.Size
	}
	work := make(chan blob.Info)
	var hands sync.WaitGroup
	var count, bytes atomic.Int64
	var mu sync.Mutex
	var failures error // the first few; the others are tried all the same
	failed := 0
	for range copiers {
		hands.Go(func() {
			for info := range work {
				if err := CopyBlob(ctx, a, b, info); err != nil {
					mu.Lock()
					if failed++; failed <= 10 {
						failures = errors.Join(failures, fmt.Errorf("copy %s: %w", info.Key, err))
					}
					mu.Unlock()
					continue
				}
				count.Add(1)
				bytes.Add(info.Size)
			}
		})
	}
	told := time.Now()
	var err error
	for info, listing := range a.List(ctx, "") {
		if err = listing; err != nil {
			break
		}
		k := kindOf(info.Key)
		if _, elsewhere := own.Of[k]; kind == "" && k != "" && elsewhere || kind != "" && k != kind {
			continue
		}
		if size, done := there[info.Key]; info.Key == blob.Marker || done && size == info.Size {
			continue
		}
		select {
		case work <- info:
		case <-ctx.Done():
		}
		if time.Since(told) > 5*time.Second {
			told = time.Now()
			m.Say(fmt.Sprintf("%d copied, %.1f MiB", count.Load(), float64(bytes.Load())/(1<<20)))
		}
	}
	close(work)
	hands.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if failed > 0 {
		return fmt.Errorf("%d pieces of content could not be copied, so nothing is switched: %w", failed, failures)
	}
	if err == nil {
		m.Say(fmt.Sprintf("%d copied and read back, %.1f MiB; %d were there.", count.Load(), float64(bytes.Load())/(1<<20), len(there)))
	}
	return err
}

// digestKey finds the digest in the key of content that is called by it.
var digestKey = regexp.MustCompile(`^[a-z]+/[0-9a-f]{2}/([0-9a-f]{64})(-[0-9a-z]+)?$`)

// KeyDigest is the SHA-256 that the content of a key must have, or "" for a key that does not say.
func KeyDigest(key string) string {
	if m := digestKey.FindStringSubmatch(key); m != nil {
		return m[1]
	}
	return ""
}

// CopyBlob copies one blob and reads the copy back. What is not what its key says is not copied over, but refused; what is removed meanwhile
// is removed from both.
func CopyBlob(ctx context.Context, a, b blob.Store, info blob.Info) error {
	for try := 1; ; try++ {
		r, err := a.Open(ctx, info.Key, 0)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		size, digest, err := b.Put(ctx, info.Key, r)
		r.Close()
		if errors.Is(err, fs.ErrExist) && try == 1 { // of another size: half of an earlier one, or somebody's error
			if err = b.Delete(ctx, info.Key); err == nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		if want := KeyDigest(info.Key); want != "" && want != digest {
			damaged := &blob.Damaged{Key: info.Key, Size: size, WantSize: info.Size, SHA256: digest, WantSHA256: want}
			return errors.Join(fault.Because(fault.Conflictf("%v, in the store it is copied from. Upload that package again, or remove the file there, and run the same command again.", damaged), damaged), b.Delete(ctx, info.Key))
		}
		if err := blob.Verify(ctx, b, info.Key, size, digest); err != nil {
			return errors.Join(err, b.Delete(ctx, info.Key))
		}
		if _, err := a.Stat(ctx, info.Key); errors.Is(err, fs.ErrNotExist) {
			return b.Delete(ctx, info.Key)
		}
		return nil
	}
}
