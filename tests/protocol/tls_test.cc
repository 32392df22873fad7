// Goal: over TLS a session works as in clear, a certificate that should not be believed is refused
// with a sentence that says which and why, the two kinds of peers tell each other apart at once,
// and hostile bytes end a connection and nothing else. Method: certificates made here with every
// defect, the test server with them, and false peers that speak when and what they should not.
#include "protocol/tls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "protocol/tls_channel.h"
#include "tests/protocol/test_certificates.h"
#include "tests/protocol/test_server.h"

namespace farwarp::wire {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;

ConnectionError refusalOf(const std::string& address, const ClientOptions& options) {
  ConnectionError error;
  EXPECT_EQ(ClientConnection::open(address, ClientHello{}, options, error), nullptr);
  return error;
}

void useSession(TestServer& server, const ClientOptions& options) {
  ConnectionError error;
  const auto client = ClientConnection::open(server.address(), ClientHello{}, options, error);
  ASSERT_NE(client, nullptr) << error.sentence;
  Reply reply;
  const auto batch = testBatch(TestOp::echo, 100'000, 0, 3);
  ASSERT_EQ(client->wait(client->start(batch), reply), Trouble::none);
  EXPECT_TRUE(std::equal(batch.begin(), batch.end(), reply.bytes().begin(), reply.bytes().end()));
  const auto data = patternBytes((5u << 20) + 77, 5);
  ASSERT_EQ(client->put(1, data), Trouble::none);
  server.waitFor([&] { return server.upload_bytes[1] >= data.size(); });
  auto stored = server.upload(1);
  stored.resize(data.size());
  EXPECT_EQ(stored, data);
  server.setDownload(2, data);
  std::vector<std::byte> back(data.size());
  ASSERT_EQ(client->get(2, back), Trouble::none);
  EXPECT_EQ(back, data);
  // As on the wire: no less than the data, and not in clear.
  EXPECT_GT(client->counters().bytes_sent, data.size());
}

TEST(Tls, ASessionWorksWithTheAuthoritysFile) {
  Certificates certificates;
  TestServer server("127.0.0.1:0", certificates.tls.get());
  useSession(server, certificates.byFile());
}

TEST(Tls, ASessionWorksWithEitherFingerprint) {
  Certificates certificates;
  TestServer server("127.0.0.1:0", certificates.tls.get());
  useSession(server, certificates.byFingerprint(certificates.authority.certificate));
  // The server's own certificate: its names do not matter then.
  Certificates elsewhere({"elsewhere.example"});
  TestServer other("127.0.0.1:0", elsewhere.tls.get());
  useSession(other, elsewhere.byFingerprint(elsewhere.server.certificate));
}

TEST(Tls, RefusesACertificateOfAnotherAuthority) {
  Certificates certificates, others;
  TestServer server("127.0.0.1:0", certificates.tls.get());
  const ConnectionError error = refusalOf(server.address(), others.byFile());
  EXPECT_EQ(error.kind, Trouble::untrusted);
  EXPECT_THAT(error.sentence, HasSubstr("is not signed by an authority in FARWARP_CA="));
  const ConnectionError pinned =
      refusalOf(server.address(), others.byFingerprint(others.authority.certificate));
  EXPECT_EQ(pinned.kind, Trouble::untrusted);
  EXPECT_THAT(pinned.sentence, HasSubstr("is not the one that FARWARP_FINGERPRINT names"));
  EXPECT_THAT(pinned.sentence, HasSubstr(fingerprintOf(certificates.authority.certificate)));
  const ConnectionError unset = refusalOf(server.address(), ClientOptions{});
  EXPECT_EQ(unset.kind, Trouble::untrusted);
  EXPECT_THAT(unset.sentence, HasSubstr("Set FARWARP_CA or FARWARP_FINGERPRINT"));
}

TEST(Tls, RefusesExpiredAndFutureCertificates) {
  Certificates expired({"127.0.0.1"}, -2 * kDay, -kDay);
  TestServer first("127.0.0.1:0", expired.tls.get());
  for (const ClientOptions& options :
       {expired.byFile(), expired.byFingerprint(expired.authority.certificate),
        expired.byFingerprint(expired.server.certificate)}) {
    const ConnectionError error = refusalOf(first.address(), options);
    EXPECT_EQ(error.kind, Trouble::untrusted);
    EXPECT_THAT(error.sentence, HasSubstr("The certificate of the gpud at"));
    EXPECT_THAT(error.sentence, HasSubstr("expired on 20"));
  }
  Certificates future({"127.0.0.1"}, kDay, 2 * kDay, 3 * kDay);
  TestServer second("127.0.0.1:0", future.tls.get());
  EXPECT_THAT(refusalOf(second.address(), future.byFile()).sentence,
              HasSubstr("is not valid before 20"));
  Certificates old({"127.0.0.1"}, -kDay, kDay, -kDay);
  TestServer third("127.0.0.1:0", old.tls.get());
  EXPECT_THAT(refusalOf(third.address(), old.byFile()).sentence,
              HasSubstr("The authority's certificate of the gpud at"));
}

TEST(Tls, RefusesACertificateForAnotherName) {
  Certificates certificates({"gpu1.example", "10.1.2.3"});
  TestServer server("127.0.0.1:0", certificates.tls.get());
  for (const ClientOptions& options :
       {certificates.byFile(), certificates.byFingerprint(certificates.authority.certificate)}) {
    const ConnectionError error = refusalOf(server.address(), options);
    EXPECT_EQ(error.kind, Trouble::untrusted);
    EXPECT_THAT(error.sentence, HasSubstr("is for gpu1.example, 10.1.2.3, not for \"127.0.0.1\""));
    EXPECT_THAT(error.sentence, HasSubstr("gpud init --name 127.0.0.1"));
  }
}

TEST(Tls, SaysWhatIsWrongWithTheSettings) {
  TestServer server("127.0.0.1:0");
  ClientOptions options;
  options.trust.fingerprint = "sha256:12";
  EXPECT_THAT(refusalOf(server.address(), options).sentence, HasSubstr("64 hexadecimal digits"));
  options.trust.ca_file = "/nowhere/ca.crt";
  EXPECT_THAT(refusalOf(server.address(), options).sentence, HasSubstr("both set"));
  options.trust.fingerprint.clear();
  EXPECT_THAT(refusalOf(server.address(), options).sentence, HasSubstr("No such file"));
}

TEST(Tls, TheTwoKindsOfPeersTellEachOtherApart) {
  Certificates certificates;
  TestServer encrypted("127.0.0.1:0", certificates.tls.get());
  EXPECT_THAT(refusalOf(encrypted.address(), clearOptions()).sentence,
              HasSubstr("takes only encrypted connections"));
  TestServer clear("127.0.0.1:0");
  EXPECT_THAT(refusalOf(clear.address(), certificates.byFile()).sentence,
              HasSubstr("does not encrypt"));
}

TEST(Tls, UnixSocketsStayInClear) {
  TestServer server(freshUnixAddress());
  useSession(server, ClientOptions{});
}

// A connected pair of sockets.
struct Pair {
  Pair() { EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0); }
  int ends[2];
};

TlsClient::Deadline soon() {
  return std::chrono::steady_clock::now() + std::chrono::seconds(60);
}

// Shakes hands on the server's side until it is done or failed.
int acceptOn(TlsChannel& channel) {
  int result;
  while ((result = channel.handshake()) == -EAGAIN) {
    pollfd entry{channel.fd(), POLLIN, 0};
    poll(&entry, 1, 60000);
  }
  return result;
}

TEST(Tls, ASecondConnectionResumesTheFirst) {
  Certificates certificates;
  std::string why;
  auto client = TlsClient::make(certificates.byFile().trust, why);
  ASSERT_NE(client, nullptr) << why;
  for (const bool resumed : {false, true}) {
    Pair pair;
    auto accepted = certificates.tls->accept(pair.ends[1]);
    auto& server = static_cast<TlsChannel&>(*accepted);
    std::thread other([&] {
      EXPECT_EQ(acceptOn(server), 0);
      iovec piece{const_cast<char*>("hello"), 5};
      EXPECT_EQ(server.write(&piece, 1), 5);
    });
    ConnectionError error;
    auto channel = client->connect(pair.ends[0], "localhost", "here", soon(), error);
    other.join();
    ASSERT_NE(channel, nullptr) << error.sentence;
    EXPECT_EQ(SSL_session_reused(static_cast<TlsChannel&>(*channel).ssl()), resumed ? 1 : 0);
    char text[5];
    EXPECT_EQ(channel->read(text, 5), 5);  // and the ticket before it
    // In order: the reader sees the end, not an error.
    server.shutdownWrite();
    EXPECT_EQ(channel->read(text, 5), 0);
  }
}

TEST(Tls, AChangedByteEndsTheConnection) {
  Certificates certificates;
  std::string why;
  auto client = TlsClient::make(certificates.byFile().trust, why);
  // Between the two, so that bytes can be changed.
  Pair left, right;
  auto accepted = certificates.tls->accept(right.ends[1]);
  auto& server = static_cast<TlsChannel&>(*accepted);
  std::thread other([&] { EXPECT_EQ(acceptOn(server), 0); });
  std::thread between([&] {
    pollfd entries[2] = {{left.ends[1], POLLIN, 0}, {right.ends[0], POLLIN, 0}};
    char buffer[4096];
    bool change = false;
    for (;;) {
      poll(entries, 2, -1);
      for (int i = 0; i < 2; ++i) {
        if (entries[i].revents == 0) continue;
        const ssize_t n = recv(entries[i].fd, buffer, sizeof(buffer), 0);
        if (n <= 0) return;
        // The client's second message after the handshake's is application data.
        if (i == 0 && n == 22 + 100) change = true;
        if (change) buffer[n - 1] ^= 1;
        (void)!send(entries[1 - i].fd, buffer, static_cast<size_t>(n), MSG_NOSIGNAL);
      }
    }
  });
  ConnectionError error;
  auto channel = client->connect(left.ends[0], "localhost", "here", soon(), error);
  other.join();
  ASSERT_NE(channel, nullptr) << error.sentence;
  std::vector<char> data(100, 'x');
  iovec piece{data.data(), data.size()};
  EXPECT_EQ(channel->write(&piece, 1), 100);
  pollfd entry{server.fd(), POLLIN, 0};
  poll(&entry, 1, 60000);
  const ssize_t got = server.read(data.data(), data.size());
  EXPECT_EQ(got, -EPROTO);
  EXPECT_THAT(server.explain(EPROTO), HasSubstr("TLS failed: "));
  channel.reset();
  between.join();
  for (int fd : {left.ends[1], right.ends[0]}) close(fd);
}

// A server that greets as one with TLS does, and then sends `bytes`.
ConnectionError answerOfFalseServer(const std::string& bytes, bool close_after,
                                    int timeout_ms = 20000) {
  Endpoint endpoint;
  std::string why;
  EXPECT_TRUE(parseEndpoint("127.0.0.1:0", endpoint, why, true));
  const int listener = listenOn(endpoint, 8, why);
  EXPECT_TRUE(boundEndpoint(listener, endpoint));
  std::thread server([&] {
    pollfd entry{listener, POLLIN, 0};
    poll(&entry, 1, 60000);
    const int fd = accept(listener, nullptr, nullptr);
    const PreambleBytes greeting = encodePreamble(ServerPreamble{});
    (void)!send(fd, greeting.data(), greeting.size(), MSG_NOSIGNAL);
    (void)!send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    char buffer[4096];
    if (close_after) shutdown(fd, SHUT_WR);
    while (recv(fd, buffer, sizeof(buffer), 0) > 0) {
    }
    close(fd);
  });
  ClientOptions options;
  options.connect_timeout_ms = timeout_ms;
  const ConnectionError error = refusalOf(endpoint.text(), options);
  server.join();
  close(listener);
  return error;
}

TEST(Tls, AServerThatSpeaksInClearAfterAllIsRefused) {
  const ConnectionError error = answerOfFalseServer(std::string(64, 'x'), false);
  EXPECT_THAT(error.sentence, HasSubstr("cannot be encrypted: the TLS handshake failed"));
}

TEST(Tls, AServerThatClosesInTheHandshakeIsNamed) {
  EXPECT_THAT(answerOfFalseServer("\x16\x03\x03", true).sentence, HasSubstr("cannot be encrypted"));
}

TEST(Tls, ASilentServerIsGivenUp) {
  const ConnectionError error = answerOfFalseServer("", false, 100);
  EXPECT_EQ(error.kind, Trouble::timedOut);
  // On a busy machine the time can be over before the handshake begins.
  EXPECT_THAT(error.sentence,
              AnyOf(HasSubstr("did not finish the TLS handshake in time"),
                    HasSubstr("said nothing within 100 ms"), HasSubstr("Nothing answered at")));
}

// A socket of a client that says in its preamble that it speaks TLS.
int connectWithPreamble(const TestServer& server, ConnectionKind kind, bool tls) {
  Endpoint endpoint;
  std::string error;
  EXPECT_TRUE(parseEndpoint(server.address(), endpoint, error));
  const int fd = connectTo(endpoint, 20000, error);
  ClientPreamble preamble;
  preamble.kind = kind;
  preamble.tls = tls;
  const PreambleBytes bytes = encodePreamble(preamble);
  (void)!send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  std::byte answer[kPreambleBytes];
  EXPECT_EQ(recv(fd, answer, sizeof(answer), MSG_WAITALL), ssize_t{kPreambleBytes});
  return fd;
}

TEST(Tls, AClientThatSpeaksInClearAfterAllLosesItsConnection) {
  Certificates certificates;
  TestServer server("127.0.0.1:0", certificates.tls.get());
  const int fd = connectWithPreamble(server, ConnectionKind::control, true);
  (void)!send(fd, "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL);
  EXPECT_THAT(server.firstEnd().reason, HasSubstr("the TLS handshake failed"));
  close(fd);
}

TEST(Tls, WhoDoesNotGreetInTimeIsClosed) {
  Certificates certificates;
  TestServer server("127.0.0.1:0", certificates.tls.get(), 50);
  const int fd = connectWithPreamble(server, ConnectionKind::control, true);
  EXPECT_EQ(server.firstEnd().reason, "The client did not finish its greeting in time.");
  close(fd);
}

TEST(Tls, AStrangersBulkConnectionSaysNothingAboutTheSession) {
  Certificates certificates;
  TestServer server("127.0.0.1:0", certificates.tls.get());
  const int fd = connectWithPreamble(server, ConnectionKind::bulk, true);
  (void)!send(fd, "nonsense, and more than five bytes", 34, MSG_NOSIGNAL);
  server.waitFor([&] { return !server.strangers.empty(); });
  server.onLoop([&] {
    EXPECT_TRUE(server.ended.empty());
    EXPECT_THAT(server.strangers[0], HasSubstr("the TLS handshake failed"));
  });
  close(fd);
}

TEST(Tls, EveryCutOfAHandshakeIsSurvived) {
  // A client's first message, cut after each of some lengths, and with a byte changed there.
  Certificates certificates;
  std::string why;
  auto client = TlsClient::make(certificates.byFile().trust, why);
  Pair recorded;
  std::thread one([&] {
    ConnectionError error;
    EXPECT_EQ(client->connect(recorded.ends[0], "localhost", "here", soon(), error), nullptr);
  });
  std::vector<char> hello(4096);
  pollfd entry{recorded.ends[1], POLLIN, 0};
  poll(&entry, 1, 60000);
  hello.resize(static_cast<size_t>(recv(recorded.ends[1], hello.data(), hello.size(), 0)));
  close(recorded.ends[1]);
  one.join();
  for (size_t cut = 0; cut < hello.size(); cut += 7) {
    for (const bool changed : {false, true}) {
      Pair pair;
      auto channel = certificates.tls->accept(pair.ends[1]);
      std::vector<char> bytes = hello;
      if (changed) {
        bytes[cut] ^= 0x55;
      } else {
        bytes.resize(cut);
      }
      (void)!send(pair.ends[0], bytes.data(), bytes.size(), MSG_NOSIGNAL);
      shutdown(pair.ends[0], SHUT_WR);
      char buffer[64];
      EXPECT_LE(channel->read(buffer, sizeof(buffer)), 0);
      close(pair.ends[0]);
    }
  }
}

}  // namespace
}  // namespace farwarp::wire
