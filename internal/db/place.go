package db

import (
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sys/unix"

	"github.com/octavo/octavo/internal/fault"
)

var pgconnWritable = pgconn.ValidateConnectTargetSessionAttrsReadWrite

// networkFolders are the file systems on which SQLite's locks do not hold between machines, so that
// two nodes would destroy the file.
var networkFolders = map[int64]string{
	0x6969: "NFS", 0xff534d42: "CIFS", 0xfe534d42: "SMB2", 0x517b: "SMB", 0x01021997: "9p", 0x65735546: "FUSE", 0x00c36400: "CephFS", 0x0bd00bd0: "Lustre",
}

func refuseNetworkFolder(folder string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(folder, &st); err != nil {
		return fault.Because(fault.InvalidField("database", "The folder %s of the SQLite file does not exist or cannot be read.", folder), err)
	}
	if name, bad := networkFolders[int64(st.Type)]; bad {
		return fault.InvalidField("database", "The folder %s lies on %s. SQLite needs a local disk; several machines need PostgreSQL.", folder, name)
	}
	return nil
}
