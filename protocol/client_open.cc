// How a client opens the connections of its session, up to the answer to its hello.
#include <kj/debug.h>

#include "protocol/client_impl.h"
#include "protocol/hello_schema.h"

namespace farwarp::wire {
namespace {

using Clock = SharedLoop::Clock;

// What gpud may call in the client.
class Callbacks final : public rpc::ClientCallbacks::Server {
 public:
  explicit Callbacks(ClientConnection::Impl& owner) : owner_(owner) {}

  kj::Promise<void> output(OutputContext context) override {
    const auto text = context.getParams().getText();
    if (owner_.options.on_output) {
      owner_.options.on_output(context.getParams().getToStderr(),
                               {reinterpret_cast<const std::byte*>(text.begin()), text.size()});
    }
    return kj::READY_NOW;
  }

  kj::Promise<void> hostFunction(HostFunctionContext context) override {
    const auto params = context.getParams();
    if (owner_.host_functions_running.size() >= kHostFunctionsMax) {
      return KJ_EXCEPTION(OVERLOADED, "too many host functions at once");
    }
    HostFunctionCall call;
    call.number = params.getNumber();
    call.status = params.getStatus();
    for (const uint64_t transfer : params.getCompleted()) call.completed.push_back(transfer);
    call.ticket = owner_.next_host_function++;
    auto ran = kj::newPromiseAndFulfiller<void>();
    const bool failed = call.status != 0;
    if (failed) ++owner_.failed_host_functions;
    owner_.host_functions_running.emplace(
        call.ticket, ClientConnection::Impl::RunningHostFunction{kj::mv(ran.fulfiller), failed});
    owner_.host_functions.push_back(std::move(call));
    return kj::mv(ran.promise);
  }

  kj::Promise<void> ended(EndedContext context) override {
    owner_.die(Trouble::sessionEnded, std::string(context.getParams().getReason().cStr()));
    return kj::READY_NOW;
  }

 private:
  ClientConnection::Impl& owner_;
};

}  // namespace

std::unique_ptr<ByteChannel> ClientConnection::Impl::openChannel(ConnectionKind kind,
                                                                 const TimeLimit& limit,
                                                                 ConnectionError& error) const {
  ClientPreamble preamble;
  preamble.kind = kind;
  if (kind == ConnectionKind::bulk) preamble.route = routeOf(server.token);
  return wire::openChannel(endpoint, name, preamble, tls.get(), limit, error);
}

bool ClientConnection::Impl::hello(std::unique_ptr<ByteChannel> channel, const ClientHello& hello,
                                   Clock::time_point deadline, ConnectionError& error) {
  const int fd = channel->fd();
  bool done = false;
  kj::Promise<void> task = nullptr;
  auto lock = control.loop.lock();
  runIn(control, lock, [&] {
    control.link = std::make_unique<RpcLink>(control.loop.flushers(), std::move(channel), nullptr,
                                             controlStreamOptions(), nullptr);
    control.fd = fd;
    control.link->stream().setTaker(this);
    control.loop.setStream(&control.link->stream(), fd);
    auto request = control.link->bootstrap().castAs<rpc::Gpud>().helloRequest();
    ClientHello said = hello;
    // Where memory is copied, nothing is gained unless somebody insists.
    const bool local = endpoint.kind == Endpoint::Kind::unixSocket;
    said.compression = local && options.compression == CompressionMode::automatic
                           ? CompressionMode::off
                           : options.compression;
    writeHello(said, request.initClient());
    auto promise = request.send();
    session = promise.getSession();
    auto callbacks = promise.getSession().setCallbacksRequest();
    callbacks.setClient(kj::heap<Callbacks>(*this));
    auto callbacks_set = callbacks.send().ignoreResult().catch_([](kj::Exception&&) {});
    task = promise
               .then([this, &error](auto&& response) {
                 std::string reason;
                 if (!readHello(response.getServer(), server, reason)) {
                   error = {Trouble::protocolViolation,
                            "The gpud at " + name + " answered nonsense. " + reason};
                 }
               })
               .then([&done] { done = true; },
                     [&done, &error, this](kj::Exception&& exception) {
                       std::string reason;
                       const Trouble trouble = troubleOf(exception, reason);
                       error = {trouble, "The gpud at " + name + " refused the session: " + reason};
                       if (trouble != Trouble::refused) {
                         error = {trouble, "The gpud at " + name +
                                               " ended the connection during the greeting: " +
                                               reason + " Its log may say why."};
                       }
                       done = true;
                     })
               .attach(kj::mv(callbacks_set))
               .eagerlyEvaluate(nullptr);
  });
  const bool in_time = control.loop.waitUntil(
      lock, [&] { return done || dead != Trouble::none; }, SharedLoop::For::input, deadline);
  if (!in_time) {
    error = {Trouble::timedOut, "The gpud at " + name +
                                    " took the connection but did not open a session in time. It "
                                    "may be overloaded; its log may say why."};
  } else if (!done) {
    error = {dead, deathSentence()};
  }
  if (!done) control.loop.run(lock, [&] { task = nullptr; });
  return error.kind == Trouble::none;
}

std::unique_ptr<ClientConnection> ClientConnection::open(const std::string& server,
                                                         const ClientHello& hello,
                                                         const ClientOptions& options,
                                                         ConnectionError& error) {
  error = {};
  Endpoint endpoint;
  if (!parseEndpoint(server, endpoint, error.sentence)) {
    error.kind = Trouble::badEndpoint;
    return nullptr;
  }
  const TimeLimit limit{std::chrono::milliseconds(options.connect_timeout_ms)};
  auto impl = std::make_unique<Impl>(endpoint, server, options);
  if (endpoint.kind == Endpoint::Kind::tcp && !options.insecure) {
    impl->tls = TlsClient::make(options.trust, error.sentence);
    if (impl->tls == nullptr) {
      error.kind = Trouble::untrusted;
      return nullptr;
    }
  }
  auto channel = impl->openChannel(ConnectionKind::control, limit, error);
  if (channel == nullptr || !impl->hello(std::move(channel), hello, limit.deadline, error)) {
    return nullptr;
  }
  return std::unique_ptr<ClientConnection>(new ClientConnection(std::move(impl)));
}

}  // namespace farwarp::wire
