package hbone

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(loadEnv) != "" {
		runLoad()
		return
	}
	if os.Getenv(moverEnv) != "" {
		runMover()
		return
	}
	flag.Parse()
	if flag.Lookup("test.bench").Value.String() != "" {
		drivers = drivers[:1] // benchmarks choose for themselves
		runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), shardsUnderTest+2))
	}
	before := descriptors()
	// All tests run on both drivers.
	for _, underTest = range drivers {
		fmt.Println("driver:", underTest)
		if underTest != "stdlib" {
			runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), shardsUnderTest+2))
		}
		code := m.Run()
		if code == 0 {
			code = leaks(before)
		}
		if code != 0 {
			os.Exit(code)
		}
	}
}

const shardsUnderTest = 2

// drivers that the tests run on, one after the other; WEFT_TUNNEL_TLS picks one.
var drivers = func() []string {
	if d := os.Getenv("WEFT_TUNNEL_TLS"); d != "" {
		return []string{d}
	}
	return []string{"stdlib", "records"}
}()

var underTest string

// onStdlib skips a test that looks into the goroutine driver.
func onStdlib(t testing.TB, why string) {
	t.Helper()
	if underTest != "stdlib" {
		t.Skip("of the goroutine driver only: " + why)
	}
}

// newShards is the driver, or the one under test.
func newShards(t testing.TB, driver string) *Shards {
	t.Helper()
	if driver == "" {
		driver = underTest
	}
	if driver == "stdlib" {
		return nil
	}
	s, err := NewShards(ShardsOptions{Count: shardsUnderTest})
	must(t, err)
	t.Cleanup(s.Close)
	return s
}

func descriptors() int {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		panic(err)
	}
	return len(fds)
}

// leaks looks for goroutines and descriptors that all the tests together have left.
func leaks(before int) (code int) {
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// The runtime's poller takes a few for itself, once.
	for range 1000 {
		if descriptors() <= before+4 {
			return 0
		}
		time.Sleep(10 * time.Millisecond)
	}
	fmt.Fprintf(os.Stderr, "%d descriptors are open, %d were before the tests\n", descriptors(), before)
	return 1
}
