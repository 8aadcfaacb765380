#include <minions/base/deadline.hpp>
#include <minions/error.hpp>
#include <minions/http_client/websocket.hpp>

#include <catch2/catch.hpp>
#include <sys/socket.h>

using namespace minions;
using namespace minions::websocket;
using Catch::Matchers::Contains;

namespace {

constexpr std::size_t most = 1000;

std::string bytes(std::initializer_list<int> all) {
    std::string text;
    for (const int byte : all) text += static_cast<char>(byte);
    return text;
}

std::string frame(Role role, Opcode opcode, std::string_view payload) {
    std::string out;
    append_frame(out, role, opcode, payload);
    return out;
}

/// What a decoder says to all of it at once.
std::optional<Message> decoded(Role role, std::string_view in) {
    Decoder decoder(role, most);
    decoder.feed(in);
    return decoder.next();
}

std::uint16_t refused_with(Role role, std::string_view in) {
    Decoder decoder(role, most);
    decoder.feed(in);
    try {
        while (decoder.next()) {
        }
    } catch (const Broken& broken) {
        return broken.code();
    }
    return 0;
}

const std::string masked_hello = bytes({0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58});

}  // namespace

TEST_CASE("the frames of RFC 6455, 5.7 are understood") {
    const std::string hello = bytes({0x81, 0x05, 'H', 'e', 'l', 'l', 'o'});
    CHECK(frame(Role::server, Opcode::text, "Hello") == hello);
    CHECK(decoded(Role::client, hello)->payload == "Hello");
    const auto masked = decoded(Role::server, masked_hello);
    REQUIRE(masked);
    CHECK(masked->payload == "Hello");
    CHECK(masked->opcode == Opcode::text);

    const auto fragments = decoded(Role::client, bytes({0x01, 0x03, 'H', 'e', 'l', 0x80, 0x02, 'l', 'o'}));
    REQUIRE(fragments);
    CHECK(fragments->payload == "Hello");
    CHECK(fragments->opcode == Opcode::text);

    CHECK(decoded(Role::client, bytes({0x89, 0x05, 'H', 'e', 'l', 'l', 'o'}))->opcode == Opcode::ping);
    CHECK(decoded(Role::server, bytes({0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58}))
              ->opcode == Opcode::pong);

    const std::string medium(256, 'x');
    CHECK(frame(Role::server, Opcode::binary, medium) == bytes({0x82, 0x7e, 0x01, 0x00}) + medium);
    const std::string large(65536, 'x');
    CHECK(frame(Role::server, Opcode::binary, large) == bytes({0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0}) + large);
}

TEST_CASE("the handshake of RFC 6455, 1.3 is agreed to") {
    CHECK(accept_of("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    CHECK(is_key("dGhlIHNhbXBsZSBub25jZQ=="));
    CHECK(is_key(new_key()));
    CHECK(new_key() != new_key());
    for (const char* wrong :
         {"", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZ===", "d hlIHNhbXBsZSBub25jZQ=="})
        CHECK_FALSE(is_key(wrong));
    http::Response reply{
        101,
        "",
        {{"upgrade", "WebSocket"}, {"Sec-WebSocket-Accept", accept_of("k")}, {"Sec-WebSocket-Protocol", "p"}},
        ""};
    CHECK_NOTHROW(check_reply(reply, "k", "p"));
    CHECK_THROWS_AS(check_reply(reply, "other", "p"), Error);
    CHECK_THROWS_AS(check_reply(reply, "k", "q"), Error);
    reply.status = 200;
    CHECK_THROWS_AS(check_reply(reply, "k", "p"), Error);
}

TEST_CASE("messages come whole however they are cut") {
    std::string stream;
    for (const std::size_t size : {0U, 1U, 3U, 125U, 126U, 999U})
        append_frame(stream, Role::client, Opcode::binary, std::string(size, 'm'));
    for (const std::size_t step : {1U, 2U, 7U, 4096U}) {
        Decoder decoder(Role::server, most);
        std::vector<std::size_t> sizes;
        for (std::size_t at = 0; at < stream.size(); at += step) {
            decoder.feed(std::string_view(stream).substr(at, step));
            while (const auto message = decoder.next()) {
                CHECK(message->payload == std::string(message->payload.size(), 'm'));
                sizes.push_back(message->payload.size());
            }
        }
        CHECK(sizes == std::vector<std::size_t>{0, 1, 3, 125, 126, 999});
    }
}

TEST_CASE("control frames come between fragments") {
    Decoder decoder(Role::client, most);
    decoder.feed(bytes({0x02, 0x01, 'a', 0x89, 0x00, 0x00, 0x01, 'b', 0x80, 0x01, 'c'}));
    CHECK(decoder.next()->opcode == Opcode::ping);
    const auto message = decoder.next();
    REQUIRE(message);
    CHECK(message->payload == "abc");
    CHECK(message->opcode == Opcode::binary);
    CHECK_FALSE(decoder.next());
}

TEST_CASE("what breaks the protocol is refused with the code for it") {
    const auto from_server = [](std::initializer_list<int> all) {
        return refused_with(Role::client, bytes(all));
    };
    CHECK(refused_with(Role::server, bytes({0x81, 0x01, 'a'})) == close_code::protocol_error);  // not masked
    CHECK(refused_with(Role::client, masked_hello) == close_code::protocol_error);
    CHECK(from_server({0xc1, 0x00}) == close_code::protocol_error);              // a reserved bit
    CHECK(from_server({0x83, 0x00}) == close_code::protocol_error);              // an unknown opcode
    CHECK(from_server({0x09, 0x00}) == close_code::protocol_error);              // a ping in fragments
    CHECK(from_server({0x89, 0x7e, 0x00, 0x80}) == close_code::protocol_error);  // a long ping
    CHECK(from_server({0x80, 0x00}) == close_code::protocol_error);              // the end of nothing
    CHECK(from_server({0x01, 0x00, 0x81, 0x00}) == close_code::protocol_error);  // a message in a message
    CHECK(from_server({0x88, 0x01, 0x03}) == close_code::protocol_error);        // half a close code
    CHECK(from_server({0x88, 0x02, 0x03, 0xed}) == close_code::protocol_error);  // 1005
    CHECK(from_server({0x81, 0x02, 0xc3, 0x28}) == close_code::invalid_data);
    CHECK(from_server({0x88, 0x04, 0x03, 0xe8, 0xc3, 0x28}) == close_code::invalid_data);
    CHECK(from_server({0x82, 0x7f, 0x80, 0, 0, 0, 0, 0, 0, 0}) == close_code::protocol_error);
    // As soon as the length is there, without the payload.
    CHECK(from_server({0x82, 0x7e, 0x03, 0xe9}) == close_code::too_big);
    CHECK(from_server({0x02, 0x01, 'a', 0x80, 0x7e, 0x03, 0xe8}) == close_code::too_big);
    CHECK(from_server({0x82, 0x7e, 0x03, 0xe8}) == 0);
}

TEST_CASE("a close frame has its code and reason") {
    const auto close = decoded(Role::client, bytes({0x88, 0x05, 0x03, 0xe8, 'b', 'y', 'e'}));
    REQUIRE(close);
    CHECK(close->opcode == Opcode::close);
    CHECK(close->code == close_code::normal);
    CHECK(close->payload == "bye");
    CHECK(decoded(Role::client, bytes({0x88, 0x00}))->code == close_code::none);
}

TEST_CASE("a socket answers pings, says goodbye, and does not block") {
    const FdPair pair = make_socketpair(SOCK_STREAM);
    Socket server(pair.first.get(), Role::server, most, masked_hello);
    Socket client(pair.second.get(), Role::client, most, "");
    CHECK(server.next()->payload == "Hello");
    CHECK_FALSE(server.next());

    const std::string ping = frame(Role::client, Opcode::ping, "p");
    write_all(pair.second.get(), ping.data(), ping.size());
    REQUIRE(server.receive());
    CHECK_FALSE(server.next());
    REQUIRE(server.flush());
    char pong[3];
    REQUIRE(read_exact(pair.second.get(), pong, sizeof pong));
    CHECK(std::string(pong, 3) == bytes({0x8a, 0x01, 'p'}));

    // More than the kernel takes stays here.
    server.send_binary(1, std::string(4 << 20, 'x'));
    REQUIRE(server.flush());
    CHECK(server.unsent() > 0);
    CHECK(server.receive());  // nothing there, and not the end
    std::size_t got = 0;
    while (server.unsent() > 0) {
        char buffer[65536];
        got += static_cast<std::size_t>(::recv(pair.second.get(), buffer, sizeof buffer, MSG_DONTWAIT));
        REQUIRE(server.flush());
    }
    char buffer[65536];
    while (got < (4U << 20) + 11)
        got += static_cast<std::size_t>(::recv(pair.second.get(), buffer, sizeof buffer, 0));

    client.send_close(close_code::normal, "done");
    client.send_text("too late");
    REQUIRE(client.flush());
    ::shutdown(pair.second.get(), SHUT_WR);
    REQUIRE(server.receive());
    const auto close = server.next();
    REQUIRE(close);
    CHECK(close->payload == "done");
    CHECK_FALSE(server.next());
    server.finish(close->code, "", deadline_in(std::chrono::seconds(20)));
    REQUIRE(client.receive());
    CHECK(client.next()->code == close_code::normal);
    CHECK_FALSE(client.receive());
}
