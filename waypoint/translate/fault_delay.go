package translate

import (
	"fmt"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	luav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/pkg/model"
)

// headerFaultDelay tells the fault filter how long to wait, in milliseconds. A client's own is overwritten, and the
// service does not see it.
const headerFaultDelay = "x-envoy-fault-delay-request"

// drawScript draws a delay for each request. Envoy's fault filter knows fixed delays, and such as a header names.
// Each worker has a Lua state of its own, whose random numbers would else be the same in all.
const drawScript = `math.randomseed((os.time() * 1000 + tonumber(tostring({}):match("0x(%%x+)"), 16)) %% 2147483648)
local mean, deviation, most = %g, %g, %g
local function draw()
  return %s
end
function envoy_on_request(h)
  local headers = h:headers()
  headers:remove("` + headerFaultDelay + `-percentage")
  headers:replace("` + headerFaultDelay + `", string.format("%%d", math.floor(math.min(math.max(draw(), 0), most) + 0.5)))
end
`

// draws are expressions of a delay in milliseconds.
var draws = map[string]string{
	"Normal":      "mean + deviation * math.sqrt(-2 * math.log(1 - math.random())) * math.cos(2 * math.pi * math.random())",
	"Uniform":     "mean + deviation * (2 * math.random() - 1)",
	"Exponential": "-mean * math.log(1 - math.random())",
}

// longestDelay is what Envoy's timers still can.
const longestDelay = 24 * time.Hour

// drawing is what a route says to filterFaultDelay; nil where the delay is fixed.
func drawing(r model.FaultRule) *anypb.Any {
	if r.Spread == nil || draws[r.Spread.Kind] == "" {
		return nil
	}
	ms := func(d time.Duration) float64 { return d.Seconds() * 1000 }
	most := longestDelay
	if r.Spread.Max > 0 {
		most = min(most, r.Spread.Max)
	}
	script := fmt.Sprintf(drawScript, ms(r.Delay), ms(r.Spread.Deviation), ms(most), draws[r.Spread.Kind])
	return pack(&luav3.LuaPerRoute{Override: &luav3.LuaPerRoute_SourceCode{
		SourceCode: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: script}},
	}})
}
