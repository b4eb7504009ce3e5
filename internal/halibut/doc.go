// Package halibut is the wire between a server and its agents: TLS with trust by thumbprint, a few control
// lines, and messages of deflated BSON with raw data streams behind them (tentacle-protocol.md 1). It speaks
// both roles, so that the server and our agent share it, and both directions:
//
//	                    dials                             accepts
//	client (server)     Client.Call, a listening agent    Listener with Polls, polling agents
//	service (agent)     Poll, a server                    Listener with Services, servers
//
// Who makes calls is independent of who made the connection. Calls go from client to service, one at a time per connection.
//
//	halibut.NewIdentity("Octavo") (*Identity, error); ParseIdentity(pem) ; (*Identity).PEM, Thumbprint, SHA256
//	halibut.NewClient(ClientConfig) *Client
//	    (*Client).Call(ctx, Endpoint, service, method, result, params...) error      result: pointer, or nil for void
//	    (*Client).Forget(Endpoint), (*Client).Close()
//	halibut.Discover(ctx, address, *Proxy) (Peer, error)                            thumbprint of a listening agent
//	halibut.NewServices() *Services
//	    (*Services).Register(service, Methods{"StartScript": func(ctx, Command) (Response, error)})
//	halibut.NewPolls(PollsConfig) *Polls
//	    (*Polls).Call(ctx, subscription, service, method, result, params...) error   queued until the agent collects it
//	    (*Polls).Connected(subscription) bool
//	NewCall(service, method, params...) (*Call, error); ReadCall, ReadAnswer             calls that travel through another node
//	    (*Polls).Carry(ctx, subscription, *Call) (*Answer, error)                    ErrNoLink when the agent is not connected
//	    (*Call).Result(*Answer, result) error
//	halibut.NewListener(ListenerConfig{Identity, Authorize, Services or Polls}) *Listener
//	    (*Listener).Serve(ctx, net.Listener) error, (*Listener).Disconnect(func(Peer) bool)
//	halibut.Poll(ctx, PollConfig{Server Endpoint, Subscription, Identity, Services}) error    reconnects until ctx ends
//
// # A connection
//
//	dialled: TLS -> "MX" -> identity -> [request, response -> "NEXT" -> "PROCEED"]* -> "END"
//
//	state      event                           next
//	new        TLS, MX, identity answered      idle
//	idle       request sent or received        busy
//	busy       response received or sent       resting
//	resting    NEXT and PROCEED                idle
//	resting    END, end of file                closed
//	any        error, time-out, cancellation   closed
//
// The dialler says NEXT: a client when it wants the pooled connection again, a polling service at once.
//
// # A call to a polling agent
//
//	waiting --collected by a link--> sent --response--> answered
//	waiting --not collected in time, cancelled--> refused: nothing ran (ConnectError)
//	sent --link broke, cancelled--> interrupted: whether it ran is unknown (TransferError)
//
// A link is doubted when its agent connects once more, here or on another node: it gets a null message at once, and no
// call before it has answered. One that stays silent is closed.
//
// # A storm
//
// Accepting never waits for a peer. Who has connected may wait as long as Timeouts.Hello for its handshake, of which
// some hundred go on at once; it gets its turn when its ClientHello is there. Beyond a few thousand connections that
// did not introduce themselves the oldest makes room.
//
// # Formats
//
//	line      text CR LF
//	message   raw DEFLATE of one BSON document {"Message": envelope or null}; its end is the end of the DEFLATE stream
//	stream    16 bytes id, 8 bytes length (little-endian), the bytes, 8 bytes length again
//
// An untrusted peer gets nothing at all: not an answer to its identity line, not a service error.
package halibut
