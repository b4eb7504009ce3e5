package variable

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// The regular expressions' clock ends by itself some seconds after the last use.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/dlclark/regexp2.runClock"))
}
