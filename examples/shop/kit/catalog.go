package kit

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Catalog is the gRPC service shop.Catalog. Its messages are protobuf's well-known types, so that the
// example needs no generated code.
type Catalog interface {
	// List returns the goods whose name starts with the prefix, each with its price in cents.
	List(ctx context.Context, prefix *wrapperspb.StringValue) (*structpb.Struct, error)
}

const listMethod = "/shop.Catalog/List"

// RegisterCatalog adds the service to a gRPC server.
func RegisterCatalog(s *grpc.Server, c Catalog) {
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "shop.Catalog",
		HandlerType: (*Catalog)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "List", Handler: handleList}},
	}, c)
}

// List asks a catalog over an existing connection.
func List(ctx context.Context, conn grpc.ClientConnInterface, prefix string) (map[string]any, error) {
	out := new(structpb.Struct)
	if err := conn.Invoke(ctx, listMethod, wrapperspb.String(prefix), out); err != nil {
		return nil, err
	}
	return out.AsMap(), nil
}

func handleList(srv any, ctx context.Context, decode func(any) error, chain grpc.UnaryServerInterceptor) (any, error) {
	in := new(wrapperspb.StringValue)
	if err := decode(in); err != nil {
		return nil, err
	}
	call := func(ctx context.Context, req any) (any, error) {
		return srv.(Catalog).List(ctx, req.(*wrapperspb.StringValue))
	}
	if chain == nil {
		return call(ctx, in)
	}
	return chain(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: listMethod}, call)
}
