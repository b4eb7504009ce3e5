package control

import (
	"context"
	"time"

	"github.com/octavo/octavo/internal/cluster"
	"github.com/octavo/octavo/internal/db"
)

// Figures are what a monitoring system wants to know of the cluster; any node can tell them.
type Figures struct {
	Depths []cluster.Depth
	Nodes  []cluster.NodeInfo
	Took   time.Duration // of the reading: the database's answer time
}

// Figures reads them.
func (c *Control) Figures(ctx context.Context) (f Figures, err error) {
	since := time.Now()
	err = c.DB.Read(ctx, func(tx *db.Tx) (err error) {
		if f.Depths, err = cluster.Depths(ctx, tx); err != nil {
			return err
		}
		f.Nodes, err = cluster.Nodes(ctx, tx)
		return err
	})
	f.Took = time.Since(since)
	return f, err
}
