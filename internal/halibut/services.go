package halibut

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"runtime/debug"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Methods are functions of the form func(context.Context, parameters...) (result, error), or without a result.
// A data stream among the parameters lives until the answer is sent; one in the result is sent with the answer.
// The context ends when the listener or poller stops, not when the caller gives up (tentacle-protocol.md 1.17).
type Methods map[string]any

// Services is what an agent offers.
type Services struct {
	log    *slog.Logger
	byName map[string]map[string]reflect.Value // service, then method in lower case
}

// NewServices offers nothing yet.
func NewServices(log *slog.Logger) *Services {
	if log == nil {
		log = slog.Default()
	}
	return &Services{log, map[string]map[string]reflect.Value{}}
}

var (
	contextType = reflect.TypeFor[context.Context]()
	errorType   = reflect.TypeFor[error]()
)

// Register offers a service, before the first connection. A function of another form is a defect, so it panics.
func (s *Services) Register(service string, methods Methods) {
	table := map[string]reflect.Value{}
	for name, f := range methods {
		v := reflect.ValueOf(f)
		t := v.Type()
		outs := t.NumOut()
		if t.Kind() != reflect.Func || t.IsVariadic() || t.NumIn() < 1 || t.In(0) != contextType ||
			outs < 1 || outs > 2 || t.Out(outs-1) != errorType {
			panic(fmt.Sprintf("halibut: %s.%s is %s, not func(context.Context, ...) (result, error)", service, name, t))
		}
		table[strings.ToLower(name)] = v
	}
	s.byName[service] = table
}

// Names lists the services.
func (s *Services) Names() []string {
	var names []string
	for name := range maps.Keys(s.byName) {
		names = append(names, name)
	}
	return names
}

// The types by which callers tell failures apart (tentacle-protocol.md 1.13).
const (
	typeNoService = "Halibut.Exceptions.ServiceNotFoundHalibutClientException"
	typeNoMethod  = "Halibut.Exceptions.MethodNotFoundHalibutClientException"
	typeAmbiguous = "Halibut.Exceptions.AmbiguousMethodMatchHalibutClientException"
	typeThrew     = "Halibut.Exceptions.ServiceInvocationHalibutClientException"
	typeOther     = "Halibut.HalibutClientException"

	threwDetails = "System.Reflection.TargetInvocationException: "
)

// answer runs one call and makes its response, with the data streams to send behind it.
func (s *Services) answer(ctx context.Context, r *request, streams map[GUID]*DataStream) (response, []*DataStream) {
	result, failure := s.run(ctx, r, streams)
	if failure != nil {
		return response{ID: r.ID, Error: failure}, nil
	}
	value, err := Encode(result)
	if err != nil {
		s.log.ErrorContext(ctx, "cannot encode a result", "service", r.Service, "method", r.Method, "err", err)
		return response{ID: r.ID, Error: newWireError(typeOther, "The result could not be encoded.", err.Error())}, nil
	}
	return response{ID: r.ID, Result: value}, streamsIn(result)
}

func (s *Services) run(ctx context.Context, r *request, streams map[GUID]*DataStream) (any, *wireError) {
	methods, ok := s.byName[r.Service]
	if !ok {
		return nil, newWireError(typeNoService, "Service not found: "+r.Service, "")
	}
	method, ok := methods[strings.ToLower(r.Method)]
	if !ok {
		return nil, newWireError(typeNoMethod, fmt.Sprintf("Service %s::%s not found", r.Service, r.Method), "")
	}
	args, err := decodeParams(ctx, method.Type(), r.Params, streams)
	if err != nil {
		return nil, newWireError(typeAmbiguous, fmt.Sprintf("The call of %s::%s could not be decoded: %v", r.Service, r.Method, err), "")
	}
	result, err := s.invoke(method, args)
	if err == nil {
		return result, nil
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		// Worth another try, elsewhere or later, so it must not look like a failure of the service.
		return nil, newWireError(typeOther, "The Tentacle service is shutting down and cannot process this request.", "")
	}
	kind := typeThrew
	if own := (interface{ HalibutErrorType() string })(nil); errors.As(err, &own) {
		kind = own.HalibutErrorType()
	}
	return nil, newWireError(kind, err.Error(), threwDetails+err.Error())
}

// invoke calls the function; a panic in it is an error of this call, not the end of the agent.
func (s *Services) invoke(method reflect.Value, args []reflect.Value) (result any, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("a service panicked", "panic", p, "stack", string(debug.Stack()))
			err = errors.New("an internal error; the agent's log has the details")
		}
	}()
	out := method.Call(args)
	err, _ = out[len(out)-1].Interface().(error) // nil when the function returned none
	if len(out) == 2 {
		result = out[0].Interface()
	}
	return result, err
}

func decodeParams(ctx context.Context, t reflect.Type, params []bson.RawValue, streams map[GUID]*DataStream) ([]reflect.Value, error) {
	args := []reflect.Value{reflect.ValueOf(ctx)}
	if want := t.NumIn() - 1; want != len(params) {
		return args, fmt.Errorf("%d parameters came, %d are needed", len(params), want)
	}
	for i, p := range params {
		arg := reflect.New(t.In(i + 1))
		err := Decode(p, arg.Interface())
		if err == nil {
			err = attach(arg.Interface(), streams)
		}
		args = append(args, arg.Elem())
		if err != nil {
			return args, fmt.Errorf("parameter %d: %w", i+1, err)
		}
	}
	return args, nil
}

func newWireError(kind, message, details string) *wireError {
	return &wireError{message, &details, &kind}
}

// serveClient carries out the calls of a server that dialled us, one after the other, until it ends the connection.
func (s *Services) serveClient(ctx context.Context, link *conn, dir string) error {
	for {
		if err := s.serveOne(ctx, link, link.idle, dir); err != nil {
			return err
		}
		word, err := readWord(link.in)
		if err != nil || word == endWord {
			return err
		}
		if word != nextWord {
			return fmt.Errorf("the peer said %s instead of NEXT", word)
		}
		if err := link.writeLine(proceedWord); err != nil {
			return err
		}
	}
}

// serveOne reads one request, or the null message, and answers it.
func (s *Services) serveOne(ctx context.Context, link *conn, wait time.Duration, dir string) error {
	if err := link.awaitFirst(wait); err != nil {
		return err
	}
	var r request
	some, streams, err := link.receive(&r, dir)
	if err != nil || !some {
		return err
	}
	defer closeStreams(maps.Clone(streams)) // after the answer, which may hold some of them; parameters take theirs out of the map
	answer, out := s.answer(ctx, &r, streams)
	doc, err := encodeResponse(answer)
	if err != nil {
		return err
	}
	return link.send(doc, out)
}
