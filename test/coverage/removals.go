package main

// removals are ten lines that carry a row each. A change of such a line changes its entry here.
var removals = []removal{
	{
		19, "internal/cluster/duties.go", "WHERE name = $1 AND next <= $2 AND NOT paused", "WHERE name = $1 AND NOT paused",
		"TestDutiesRow19Row20", "internal/cluster",
	},
	{
		21, "internal/cluster/lease.go", "n.name = $3 AND n.epoch = $4 AND n.state = 'up' AND NOT n.draining)", "n.name = $3 AND n.epoch = $4 AND n.state = 'up')",
		"TestStoryRow16Row21", "internal/api",
	},
	{
		26, "internal/cluster/claim.go", `may + " ORDER BY r.lane, r.place" + limit(has)`, `may + " ORDER BY r.lane, r.place DESC" + limit(has)`,
		"TestCapOfOneRow26Row28Row33", "test/cluster",
	},
	{
		28, "internal/cluster/claim.go", `"max(0, min(n.cap - $3, $5))"`, `"max(0, min(n.cap + 9 - $3, $5 + 9))"`,
		"TestCapOfOneRow26Row28Row33", "test/cluster",
	},
	{
		31, "internal/cluster/queue.go", "const QueueTimeExpiry = 24 * time.Hour", "const QueueTimeExpiry = 25 * time.Hour",
		"TestQueueExpiryRow31", "internal/cluster",
	},
	{
		35, "internal/cluster/claim.go", `" AND strpos(n.labels, %s) > 0"`, `" AND strpos(n.labels, %s) >= 0"`,
		"TestClaimChecksItsLabelsRow35", "internal/cluster",
	},
	{
		36, "internal/cluster/lease.go", "return true, releaseAll(ctx, tx, b.node)", "return true, nil",
		"TestOwnerKilledRow16Row36Row60Row61Row63", "test/cluster",
	},
	{
		45, "internal/api/nodes.go", "case stopping || n.IsOffline || n.IsInMaintenanceMode:", "case stopping || n.IsOffline:",
		"TestPingRow38Row43Row44Row45Row47", "internal/api",
	},
	{
		59, "internal/hub/call.go", "if now.alive {", "if true {",
		"TestCarrierDiesRow59", "internal/hub",
	},
	{
		62, "internal/hub/trust.go", "return h.trust[p.Thumbprint][canonical(p.Subscription)]", "return true",
		"TestTrustRow62", "internal/hub",
	},
}
