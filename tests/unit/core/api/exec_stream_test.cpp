#include "tests/unit/core/api/api.hpp"

#include <minions/base/deadline.hpp>
#include <minions/http_client/websocket.hpp>

#include <sys/socket.h>

using namespace minions;
using namespace minions::core::test;
using Catch::Matchers::Contains;
using websocket::Opcode;

namespace {

constexpr const char* protocol = "minions.exec.v1";

/// What was read from a WebSocket to its end.
struct Ended {
    std::string out;
    std::string error;
    Value record;
    std::uint16_t code = 0;
};

/// The other end of an exec, which waits where the command line would not.
struct Exec {
    Exec(const Api& api, const std::string& name) {
        const std::string key = websocket::new_key();
        auto stream =
            api.client.open({"GET", "/api/vms/" + name + "/exec", websocket::request_headers(key, protocol)},
                            {deadline_in(std::chrono::seconds(20))});
        REQUIRE(stream.head().status == 101);
        websocket::check_reply(stream.head(), key, protocol);
        connection = stream.hijack();
        socket.emplace(connection.fd.get(), websocket::Role::client, std::size_t{1} << 20,
                       connection.buffered);
    }
    Exec(const Api& api, const std::string& name, const Value::Object& spec) : Exec(api, name) {
        text(Value(spec));
    }

    void text(const Value& value) {
        socket->send_text(to_json(value));
        flush();
    }
    void input(std::string_view data) {
        socket->send_binary(0, data);
        flush();
    }
    void raw(std::string_view data) { write_all(connection.fd.get(), data.data(), data.size()); }
    void flush() {
        while (socket->flush() && socket->unsent() > 0) {
            pollfd entry{socket->fd(), POLLOUT, 0};
            poll_until(&entry, 1, no_deadline);
        }
    }
    /// Nothing at the end of the connection.
    std::optional<websocket::Message> next() {
        for (;;) {
            if (auto message = socket->next()) return message;
            pollfd entry{socket->fd(), POLLIN, 0};
            REQUIRE(poll_until(&entry, 1, deadline_in(std::chrono::seconds(20))) == 1);
            if (!socket->receive()) return std::nullopt;
        }
    }
    /// Until so much has come on stdout.
    std::string out(std::size_t size) {
        std::string text;
        while (text.size() < size) text += next().value().payload.substr(1);
        return text;
    }
    Ended end() {
        Ended ended;
        while (const auto message = next()) {
            if (message->opcode == Opcode::close) {
                ended.code = message->code;
                socket->send_close(websocket::close_code::normal, "");
                flush();
            } else if (message->opcode == Opcode::text) {
                ended.record = parse_json(message->payload);
            } else {
                (message->payload.at(0) == 1 ? ended.out : ended.error) += message->payload.substr(1);
            }
        }
        return ended;
    }

    http::Hijacked connection;
    std::optional<websocket::Socket> socket;
};

Value exited(int code) { return Value::object({{"exit_code", code}, {"signal", nullptr}}); }

/// Counts its calls, and says when one has ended early.
struct Watched final : ExecFacet {
    ExecEnd exec(Context& ctx, const Instance&, const ExecSpec&, ExecStreams streams) override {
        write_all(streams.output.get(), "up\n", 3);
        pollfd cancel{ctx.cancel_fd(), POLLIN, 0};
        poll_until(&cancel, 1, no_deadline);
        ended.raise();
        ctx.check();
        return {};
    }
    EventFd ended;
};

}  // namespace

TEST_CASE("a command's streams and its end come apart over a WebSocket") {
    Api api;
    api.create("a");
    const Ended echo = Exec(api, "a", {{"command", "echo"}, {"args", Value::array({"a", "b"})}}).end();
    CHECK(echo.out == "a b\n");
    CHECK(echo.error.empty());
    CHECK(echo.record == exited(0));
    CHECK(echo.code == 1000);
    const Ended error = Exec(api, "a", {{"command", "echo-error"}, {"args", Value::array({"x"})}}).end();
    CHECK(error.out.empty());
    CHECK(error.error == "x\n");
    const Ended exit = Exec(api, "a", {{"command", "exit"}, {"args", Value::array({"7"})}}).end();
    CHECK(exit.record == exited(7));
}

TEST_CASE("input goes in as it comes and comes back whole, whatever bytes it has") {
    Api api;
    api.create("a");
    Exec cat(api, "a", {{"command", "cat"}, {"stdin", true}});
    cat.input("first");
    CHECK(cat.out(5) == "first");
    std::string all;
    for (int i = 0; i < 300'000; ++i) all += static_cast<char>(i * 31 >> 3);
    // More than all buffers hold goes both ways at once.
    std::string back;
    std::size_t sent = 0;
    while (back.size() < all.size() * 10) {
        if (sent < 10 && cat.socket->unsent() == 0) {
            cat.socket->send_binary(0, all);
            ++sent;
        }
        REQUIRE(cat.socket->flush());
        pollfd entry{cat.socket->fd(), static_cast<short>(POLLIN | (cat.socket->unsent() > 0 ? POLLOUT : 0)),
                     0};
        REQUIRE(poll_until(&entry, 1, deadline_in(std::chrono::seconds(20))) == 1);
        if ((entry.revents & POLLIN) != 0) REQUIRE(cat.socket->receive());
        while (const auto message = cat.socket->next()) back += message->payload.substr(1);
    }
    CHECK(back.substr(0, all.size()) == all);
    CHECK(back.substr(9 * all.size()) == all);
    cat.input("");
    CHECK(cat.end().record == exited(0));
    // Without stdin there is nothing to read.
    CHECK(Exec(api, "a", {{"command", "cat"}}).end().record == exited(0));
}

TEST_CASE("signals and the terminal's size reach the command") {
    Api api;
    api.create("a");
    Exec size(api, "a", {{"command", "size"}, {"tty", true}, {"rows", 10}, {"columns", 20}});
    CHECK(size.out(6) == "10 20\n");
    size.text(Value::object({{"rows", 30}, {"columns", 40}}));
    CHECK(size.out(6) == "30 40\n");
    size.text(Value::object({{"signal", 15}}));
    CHECK(size.end().record == Value::object({{"exit_code", nullptr}, {"signal", 15}}));
}

TEST_CASE("a command past its time ends with a record that says so") {
    Api api;
    api.create("a");
    const Ended late =
        Exec(api, "a", {{"command", "sleep"}, {"args", Value::array({"30"})}, {"timeout_seconds", 0.05}})
            .end();
    CHECK(late.record["code"] == Value("deadline"));
    CHECK_THAT(late.record["error"].string_or(""), Contains("0.05 seconds"));
    CHECK(late.code == 1000);
}

TEST_CASE("a description that cannot be is answered with a record") {
    Api api;
    api.create("a");
    CHECK(Exec(api, "a", {{"command", ""}}).end().record["code"] == Value("invalid"));
    CHECK(Exec(api, "a", {{"args", Value::array()}}).end().record["code"] == Value("invalid"));
    const Ended unknown = Exec(api, "a", {{"command", "true"}, {"usr", "x"}}).end();
    CHECK_THAT(unknown.record["hint"].string_or(""), Contains("user"));
    CHECK(unknown.code == 1000);
}

TEST_CASE("a client that goes away, or closes, ends the command") {
    Api api;
    api.create("a");
    Watched watched;
    api.world.runtimes.handle.exec = &watched;
    const auto soon = deadline_in(std::chrono::seconds(20));
    {
        Exec gone(api, "a", {{"command", "x"}});
        CHECK(gone.out(3) == "up\n");
    }
    CHECK(watched.ended.wait(soon));
    watched.ended.clear();
    Exec closed(api, "a", {{"command", "x"}});
    CHECK(closed.out(3) == "up\n");
    closed.socket->send_close(websocket::close_code::normal, "");
    closed.flush();
    const Ended ended = closed.end();
    CHECK(ended.code == 1000);
    CHECK(ended.record.is_null());
    CHECK(watched.ended.wait(soon));
}

TEST_CASE("what breaks the protocol ends the command and is answered with a close code") {
    Api api;
    api.create("a");
    Watched watched;
    api.world.runtimes.handle.exec = &watched;
    const auto refused = [&](std::string_view frame, bool begun) {
        Exec exec(api, "a");
        if (begun) {
            exec.text(Value::object({{"command", "x"}}));
            CHECK(exec.out(3) == "up\n");
        }
        exec.raw(frame);
        const Ended ended = exec.end();
        CHECK(ended.record.is_null());
        if (begun) CHECK(watched.ended.wait(deadline_in(std::chrono::seconds(20))));
        watched.ended.clear();
        return ended.code;
    };
    const auto message = [](Opcode opcode, std::string_view payload) {
        std::string frame;
        websocket::append_frame(frame, websocket::Role::client, opcode, payload);
        return frame;
    };
    CHECK(refused(message(Opcode::binary, "x"), false) == 1003);
    CHECK(refused(message(Opcode::text, "{"), false) == 1007);
    CHECK(refused(message(Opcode::text, "\xff"), false) == 1007);
    CHECK(refused(message(Opcode::binary, "\x01x"), true) == 1003);
    CHECK(refused(message(Opcode::binary, ""), true) == 1003);
    CHECK(refused(message(Opcode::text, R"({"signal":99})"), true) == 1007);
    CHECK(refused(message(Opcode::text, R"({"rows":9})"), true) == 1007);
    CHECK(refused(message(Opcode::text, "{}"), true) == 1007);
    CHECK(refused("\x81\x02{}", true) == 1002);  // not masked
    CHECK(refused("GET / HTTP/1.1\r\n\r\n", true) == 1002);
    CHECK(refused(std::string("\x82\xff\0\0\0\0\0\x20\0\0", 10), true) == 1009);
}

TEST_CASE("what asks for no WebSocket, or for one of what is not there, gets an ordinary reply") {
    Api api;
    api.create("a");
    const auto ask = [&](const std::string& name, http::Headers headers) {
        return api.call("GET", "/api/vms/" + name + "/exec", {}, std::move(headers));
    };
    const auto with = [](const std::string& name, const std::string& value) {
        auto headers = websocket::request_headers(websocket::new_key(), protocol);
        for (auto& [key, text] : headers)
            if (key == name) text = value;
        return headers;
    };
    const auto plain = ask("a", {});
    CHECK(plain.status == 426);
    CHECK(plain.header("Upgrade") == "websocket");
    CHECK(ask("a", with("Upgrade", "h2c")).status == 426);
    CHECK(ask("a", with("Connection", "keep-alive")).status == 426);
    CHECK(ask("a", with("Sec-WebSocket-Version", "8")).status == 426);
    CHECK(ask("a", with("Sec-WebSocket-Version", "8")).header("Sec-WebSocket-Version") == "13");
    CHECK(ask("a", with("Sec-WebSocket-Key", "short")).status == 400);
    CHECK(ask("a", with("Sec-WebSocket-Protocol", "chat")).status == 400);
    const auto good = with("", "");
    CHECK(ask("x", good).status == 404);
    api.json("POST", "/api/vms/a/stop", 200);
    CHECK(parse_json(ask("a", good).body)["code"] == Value("wrong_state"));
    api.world.runtimes.handle.exec = nullptr;
    CHECK(parse_json(ask("a", good).body)["code"] == Value("unsupported_by_runtime"));
}

TEST_CASE("the end of the server ends what still runs") {
    Api api;
    api.create("a");
    Exec sleep(api, "a", {{"command", "yes"}});
    sleep.out(1);
    api.server.stop(std::chrono::milliseconds(100));
    while (sleep.next()) {
    }
}

TEST_CASE("a copy over HTTP") {
    Api api;
    api.create("a");
    const Value body = Value::object({{"new_name", "b"}});
    CHECK(api.json("POST", "/api/vms/a/copy", 201, body)["name"] == Value("b"));
    CHECK(api.json("POST", "/api/vms/a/copy", 409, body)["code"] == Value("conflict"));
    api.json("POST", "/api/vms/a/copy", 400, Value::object());
    api.world.runtimes.handle.copy = nullptr;
    CHECK(api.json("POST", "/api/vms/a/copy", 409, Value::object({{"new_name", "c"}}))["code"] ==
          Value("unsupported_by_runtime"));
}
