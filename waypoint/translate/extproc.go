package translate

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"

	"github.com/weftmesh/weft/pkg/model"
)

func (b *builder) extProcFilter(x *model.Extension) (*procv3.ExternalProcessor, error) {
	service, err := b.grpcService(x.ExtProc.Service, 0)
	if err != nil {
		return nil, err
	}
	for _, k := range sortedKeys(x.ExtProc.Metadata) {
		service.InitialMetadata = append(service.InitialMetadata, &corev3.HeaderValue{Key: k, Value: x.ExtProc.Metadata[k]})
	}
	in, out := x.ExtProc.Request, x.ExtProc.Response
	return &procv3.ExternalProcessor{
		GrpcService:      service,
		FailureModeAllow: x.FailOpen,
		StatPrefix:       "extension",
		MessageTimeout:   seconds(x.ExtProc.Timeout),
		ProcessingMode: &procv3.ProcessingMode{
			RequestHeaderMode: sendMode(in.Headers), RequestBodyMode: bodyMode(in.Body), RequestTrailerMode: sendMode(in.Trailers),
			ResponseHeaderMode: sendMode(out.Headers), ResponseBodyMode: bodyMode(out.Body), ResponseTrailerMode: sendMode(out.Trailers),
		},
	}, nil
}

func sendMode(send bool) procv3.ProcessingMode_HeaderSendMode {
	if send {
		return procv3.ProcessingMode_SEND
	}
	return procv3.ProcessingMode_SKIP
}

func bodyMode(mode string) procv3.ProcessingMode_BodySendMode {
	switch mode {
	case "Streamed":
		return procv3.ProcessingMode_STREAMED
	case "Buffered":
		return procv3.ProcessingMode_BUFFERED
	case "BufferedPartial":
		return procv3.ProcessingMode_BUFFERED_PARTIAL
	}
	return procv3.ProcessingMode_NONE
}
