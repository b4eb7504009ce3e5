package engine

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/octavo/octavo/internal/convention"
	"github.com/octavo/octavo/internal/crashpoint"
	"github.com/octavo/octavo/internal/db"
	"github.com/octavo/octavo/internal/deployment"
	"github.com/octavo/octavo/internal/engine/tasklog"
	"github.com/octavo/octavo/internal/fault"
	"github.com/octavo/octavo/internal/feed"
	"github.com/octavo/octavo/internal/hub"
	"github.com/octavo/octavo/internal/tentacle"
	"github.com/octavo/octavo/internal/variable"
	"github.com/octavo/octavo/internal/version"
)

// packageFile is what a target needs to know about a package of ours.
func (d *walk) packageFile(ctx context.Context, pkg deployment.Package) (convention.Package, error) {
	found, err := d.findPackage(ctx, pkg)
	if err != nil {
		return convention.Package{}, err
	}
	return convention.Package{
		Id: found.PackageId, Version: found.Version, FeedId: pkg.FeedId, Hash: found.Sha256, Size: found.PackageSizeBytes, Extension: found.FileExtension,
	}, nil
}

func (d *walk) findPackage(ctx context.Context, pkg deployment.Package) (found feed.Package, err error) {
	if !strings.HasPrefix(strings.ToLower(pkg.FeedId), "feeds-builtin") && pkg.FeedId != "" {
		return found, fault.Invalidf("Package %s comes from feed %s; this version fetches packages from the built-in feed only.", pkg.PackageId, pkg.FeedId)
	}
	err = d.DB.Read(ctx, func(tx *db.Tx) error {
		found, err = feed.Find(ctx, tx, d.deployment.SpaceId, pkg.PackageId, pkg.Version)
		return err
	})
	return found, err
}

// bring puts packages into a machine's cache: it asks what is there, uploads what is not, and has it checked
// (deployments.md A5). Every part can be repeated, so a new owner just goes through it again.
func (d *walk) bring(ctx context.Context, run, activity string, at place, packages []deployment.Package, limit time.Duration) (outcome, error) {
	wanted := make([]convention.Package, 0, len(packages))
	for _, pkg := range packages {
		file, err := d.packageFile(ctx, pkg)
		if err != nil {
			return outcome{}, err
		}
		wanted = append(wanted, file)
	}
	list, err := convention.PackagesFile(wanted)
	if err != nil {
		return outcome{}, err
	}
	vars := variable.NewDictionary()
	for _, name := range []string{"OctopusPackageRetentionPercentFreeDiskSpace"} {
		if value, ok := d.plain(name); ok {
			vars.Set(name, value)
		}
	}
	vars.Set("Octopus.Task.Id", d.task.Id)
	ask := job{run: run, part: "find-packages", activity: activity, action: deployment.AcquireName, place: at, limit: limit, command: func(context.Context, hub.Service) (command, error) {
		return toolCommand("find-packages", vars, tentacle.NoIsolation, list)
	}}
	result, err := d.tool(ctx, ask)
	if err != nil || result.exit != 0 {
		return result, err
	}
	var missing []string
	if !d.deployment.ForcePackageDownload {
		for _, m := range result.messages {
			if m.Name == convention.PackageMissing {
				missing = append(missing, m.Attributes["path"])
			}
		}
	}
	sent := 0
	for i, pkg := range wanted {
		if !d.deployment.ForcePackageDownload && !slices.Contains(missing, pkg.Path()) {
			d.say(ctx, activity, tasklog.Info, "%s %s is already on %s.", pkg.Id, pkg.Version, at.name)
			continue
		}
		if err := d.upload(ctx, activity, at, packages[i], pkg); err != nil {
			return outcome{}, err
		}
		sent++
	}
	if sent == 0 {
		return outcome{}, nil
	}
	return d.tool(ctx, job{run: run, part: "verify-packages", activity: activity, action: deployment.AcquireName, place: at, limit: limit, command: func(context.Context, hub.Service) (command, error) {
		return toolCommand("verify-packages", vars, tentacle.NoIsolation, list)
	}})
}

// upload streams one package to a target.
func (d *walk) upload(ctx context.Context, activity string, at place, from deployment.Package, to convention.Package) error {
	found, err := d.findPackage(ctx, from)
	if err != nil {
		return err
	}
	since := time.Now()
	d.say(ctx, activity, tasklog.Info, "Uploading %s %s (%s) to %s.", to.Id, to.Version, size(to.Size), at.name)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() { // a cancel closes the link that a long upload holds
		select {
		case <-d.run.Cancelled():
			stop(errCancelled)
		case <-ctx.Done():
		}
	}()
	err = d.whenStored(ctx, activity, found, func() error {
		crashpoint.Reach("upload before")
		_, err := d.Hub.Upload(ctx, at.trust, to.Path(), to.Size, func() (io.ReadCloser, error) { return d.Packages.Open(ctx, found, 0) }, d.retried(ctx, activity))
		crashpoint.Reach("upload answered")
		return err
	})
	if context.Cause(ctx) != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	d.say(ctx, activity, tasklog.Verbose, "Uploaded in %.1f s.", time.Since(since).Seconds())
	return nil
}

func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f KB", float64(n)/(1<<10))
}

// plain is a project variable without a scope of its own.
func (d *walk) plain(name string) (string, bool) {
	vars, _ := variable.Resolve(d.values.candidates, d.situation())
	value, ok, err := vars.Get(name)
	return value, ok && err == nil
}

// sendTool puts our tool on an unmodified Tentacle, and behind it the mark that says it is whole.
func (w *work) sendTool(ctx context.Context, j job, platform, path string) error {
	if platform == "" || path == "" {
		return fault.Invalidf("%s has no octavo-agent tool and did not say for which platform it needs one.", j.place.name)
	}
	file := filepath.Join(w.Tools, platform, "octavo-agent")
	info, err := os.Stat(file)
	if err != nil {
		return fault.Because(fault.Invalidf("%s needs the target-side tool for %s, but the server has no file %s. Put the octavo-agent binary for that platform there.", j.place.name, platform, file), err)
	}
	w.say(ctx, j.activity, tasklog.Info, "Sending the target-side tool for %s to %s (%s).", platform, j.place.name, size(info.Size()))
	tell := w.retried(ctx, j.activity)
	if _, err := w.Hub.Upload(ctx, j.place.trust, path, info.Size(), func() (io.ReadCloser, error) { return os.Open(file) }, tell); err != nil {
		return err
	}
	mark := "whole\n"
	_, err = w.Hub.Upload(ctx, j.place.trust, convention.ToolMark(path), int64(len(mark)), func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(mark)), nil }, tell)
	return err
}

// toolVersion names the tool's folder on unmodified Tentacles, so that a new server brings its own tool.
func toolVersion() string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune("+/ ", r) {
			return '-'
		}
		return r
	}, version.String())
}
