package tentacle

// UploadResult tells what an upload stored: Hash is its SHA-1 in lower-case hex (tentacle-protocol.md 2.6).
type UploadResult struct {
	FullPath string `bson:"FullPath"`
	Hash     string `bson:"Hash"`
	Length   int64  `bson:"Length"`
}

// HalibutType is the $type.
func (UploadResult) HalibutType() string { return v1Type("UploadResult") }
