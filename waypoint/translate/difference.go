package translate

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// difference is the path of the first field in which two messages of a kind differ; "" none.
func difference(a, b proto.Message) string {
	if proto.Equal(a, b) {
		return ""
	}
	x, y := a.ProtoReflect(), b.ProtoReflect()
	fields := x.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if x.Get(f).Equal(y.Get(f)) && x.Has(f) == y.Has(f) {
			continue
		}
		name := string(f.Name())
		switch {
		case f.IsMap() || f.Kind() != protoreflect.MessageKind || f.Message().FullName() == "google.protobuf.Any":
			return name
		case f.IsList():
			return name + differenceOfLists(x.Get(f).List(), y.Get(f).List())
		case x.Has(f) && y.Has(f):
			if inner := difference(x.Get(f).Message().Interface(), y.Get(f).Message().Interface()); inner != "" {
				return name + "." + inner
			}
		}
		return name
	}
	return "a field that is not known"
}

func differenceOfLists(x, y protoreflect.List) string {
	for i := range min(x.Len(), y.Len()) {
		if inner := difference(x.Get(i).Message().Interface(), y.Get(i).Message().Interface()); inner != "" {
			return fmt.Sprintf("[%d].%s", i, inner)
		}
	}
	return ""
}
