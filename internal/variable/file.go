package variable

import "encoding/json"

// fileEntry is one variable as it is handed to an executing agent (variables.md 4.5).
type fileEntry struct {
	Name      string  `json:"k"`
	Value     *string `json:"v"`
	Sensitive bool    `json:"s"`
}

// MarshalJSON writes the variables file: an array of {"k": name, "v": raw value or null, "s": sensitive},
// in order. It holds secrets in clear, so whoever stores or sends it encrypts it.
func (d *Dictionary) MarshalJSON() ([]byte, error) {
	entries := make([]fileEntry, len(d.entries))
	for i, e := range d.entries {
		entries[i] = fileEntry(e)
	}
	return json.Marshal(entries)
}

// UnmarshalJSON reads a variables file.
func (d *Dictionary) UnmarshalJSON(b []byte) error {
	var entries []fileEntry
	if err := json.Unmarshal(b, &entries); err != nil {
		return err
	}
	d.entries, d.index, d.root = nil, nil, nil
	for _, e := range entries {
		d.Put(Entry(e))
	}
	return nil
}
