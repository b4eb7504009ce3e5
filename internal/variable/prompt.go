package variable

// Prompt asks for a value when a deployment or a runbook run is created (variables.md 7).
type Prompt struct {
	Label           string
	Description     string
	Required        bool
	DisplaySettings map[string]string `json:",omitempty"`
}
