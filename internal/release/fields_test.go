package release

import (
	"fmt"
	"strings"
	"testing"
)

func TestCheckFields(t *testing.T) { // V1
	many := map[string]string{}
	for i := range 10 {
		many[fmt.Sprint(i)] = strings.Repeat("ä", 150)
	}
	if err := CheckFields(many); err != nil {
		t.Errorf("ten fields of 150 characters: %v", err)
	}
	many["one more"] = strings.Repeat("x", 151)
	if err := CheckFields(many); err == nil || !strings.Contains(err.Error(), "11 entries") || !strings.Contains(err.Error(), `"one more"`) {
		t.Errorf("eleven fields, one too long: %v", err)
	}
}
