package translate

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	wasmfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/wasm/v3"
	wasmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/wasm/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/pkg/model"
)

// wasmFilter runs a module in a machine of its own, which is made anew after a crash. The code comes with the
// configuration: what Envoy is to fetch itself for a route, it never does, and lets requests pass meanwhile.
func wasmFilter(name string, x *model.Extension) *wasmfilterv3.Wasm {
	failure := wasmv3.FailurePolicy_FAIL_RELOAD
	if x.FailOpen {
		failure = wasmv3.FailurePolicy_FAIL_OPEN
	}
	return &wasmfilterv3.Wasm{Config: &wasmv3.PluginConfig{
		Name:          name,
		FailurePolicy: failure,
		Configuration: pack(wrapperspb.String(x.Wasm.Config)),
		Vm: &wasmv3.PluginConfig_VmConfig{VmConfig: &wasmv3.VmConfig{
			VmId:    name,
			Runtime: "envoy.wasm.runtime.v8",
			Code: &corev3.AsyncDataSource{Specifier: &corev3.AsyncDataSource_Local{
				Local: &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: x.Wasm.Code}},
			}},
			CapabilityRestrictionConfig: wasmCapabilities(),
		}},
	}}
}

// wasmCapabilities are all that concerns the request at hand, time, logs, metrics and shared data. What is left
// out are calls: they could reach every cluster that Envoy knows, its sources of secrets among them.
func wasmCapabilities() *wasmv3.CapabilityRestrictionConfig {
	out := &wasmv3.CapabilityRestrictionConfig{AllowedCapabilities: map[string]*wasmv3.SanitizationConfig{}}
	for _, name := range []string{
		// what the module offers
		"proxy_on_vm_start", "proxy_on_configure", "proxy_on_context_create", "proxy_on_tick", "proxy_on_done", "proxy_on_delete", "proxy_on_log",
		"proxy_on_request_headers", "proxy_on_request_body", "proxy_on_request_trailers", "proxy_on_request_metadata",
		"proxy_on_response_headers", "proxy_on_response_body", "proxy_on_response_trailers", "proxy_on_response_metadata",
		"proxy_on_memory_allocate", "malloc", "_initialize", "_start", "main", "__wasm_call_ctors",
		// what it may ask
		"proxy_log", "proxy_get_log_level", "proxy_done", "proxy_set_effective_context", "proxy_set_tick_period_milliseconds", "proxy_get_current_time_nanoseconds",
		"proxy_get_buffer_bytes", "proxy_get_buffer_status", "proxy_set_buffer_bytes",
		"proxy_get_header_map_pairs", "proxy_get_header_map_value", "proxy_get_header_map_size", "proxy_set_header_map_pairs",
		"proxy_add_header_map_value", "proxy_replace_header_map_value", "proxy_remove_header_map_value",
		"proxy_get_property", "proxy_set_property", "proxy_send_local_response", "proxy_continue_stream", "proxy_close_stream",
		"proxy_continue_request", "proxy_continue_response", "proxy_clear_route_cache", "proxy_get_status",
		"proxy_get_shared_data", "proxy_set_shared_data",
		"proxy_define_metric", "proxy_increment_metric", "proxy_record_metric", "proxy_get_metric",
		"args_get", "args_sizes_get", "clock_res_get", "clock_time_get", "environ_get", "environ_sizes_get", "fd_fdstat_get", "fd_write",
		"proc_exit", "random_get", "sched_yield", "poll_oneoff", "path_open", "path_filestat_get", "fd_read", "fd_seek", "fd_close", "fd_prestat_get", "fd_prestat_dir_name",
	} {
		out.AllowedCapabilities[name] = &wasmv3.SanitizationConfig{}
	}
	return out
}
