#include "core/http/body.hpp"
#include "core/http/head.hpp"

#include <minions/error.hpp>

#include <Poco/Net/HTTPRequest.h>

#include <catch2/catch.hpp>

using namespace minions;
using namespace minions::core::http;

namespace {

Code code_of(const std::function<void()>& action) {
    try {
        action();
    } catch (const Error& error) {
        return error.code();
    }
    FAIL("nothing was refused");
    return Code::internal;
}

// The whole way of a head: found byte by byte, then parsed.
Head take(std::string_view bytes, const Limits& limits = {}) {
    HeadScanner scanner;
    for (std::size_t size = 1; size <= bytes.size(); ++size) {
        if (const auto end = scanner.scan(bytes.substr(0, size), limits)) {
            CHECK(*end == size);
            return parse_head(bytes.substr(0, *end), limits);
        }
    }
    throw std::runtime_error("the head is not complete");
}

std::string decode_body(std::string_view bytes, std::size_t step, std::size_t* used = nullptr,
                        std::uint64_t max = 1000) {
    Framing framing;
    framing.chunked = true;
    BodyDecoder decoder(framing, max);
    std::string in;
    std::string out;
    std::size_t total = 0;
    for (std::size_t at = 0; at < bytes.size() && !decoder.done(); at += step) {
        in += bytes.substr(at, step);
        const std::size_t taken = decoder.feed(in, out, std::string::npos);
        total += taken;
        in.erase(0, taken);
    }
    if (!decoder.done()) throw std::runtime_error("the body is not complete");
    if (used != nullptr) *used = total;
    return out;
}

}  // namespace

TEST_CASE("an ordinary head is understood") {
    const Head head = take("POST /a?b=c HTTP/1.1\r\nHost: x:1\r\nContent-Length: 12\r\nX-Y:\t z z \r\n\r\n");
    CHECK(head.request->getMethod() == "POST");
    CHECK(head.request->getURI() == "/a?b=c");
    CHECK(head.request->get("x-y") == "z z");
    CHECK(head.framing.length == 12U);
    CHECK_FALSE(head.framing.chunked);
    CHECK(head.keep_alive);
    CHECK_FALSE(take("GET / HTTP/1.0\r\n\r\n").keep_alive);
    CHECK(take("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keep_alive);
    CHECK_FALSE(take("GET / HTTP/1.1\r\nHost: x\r\nConnection: te, Close\r\n\r\n").keep_alive);
    CHECK(take("GET http://x/p HTTP/1.1\r\nHost: x\r\n\r\n").request->getURI() == "/p");
    CHECK(take("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n").framing.chunked);
    CHECK(take("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n").expects_continue);
}

TEST_CASE("a token is found in any header of its name, in any case, with or without parameters") {
    const auto asks = [](const std::string& headers) {
        return lists_token(*take("GET / HTTP/1.1\r\nHost: x\r\n" + headers + "\r\n").request, "Prefer",
                           "respond-async");
    };
    CHECK(asks("Prefer: respond-async\r\n"));
    CHECK(asks("prefer: Respond-Async\r\n"));
    CHECK(asks("Prefer: wait=10,respond-async ; x=1\r\n"));
    CHECK(asks("Prefer: return=minimal\r\nPrefer: respond-async\r\n"));
    CHECK_FALSE(asks("Prefer: respond-asynchronously\r\n"));
    CHECK_FALSE(asks("Prefer: no-respond-async\r\n"));
    CHECK_FALSE(asks("Prefer: ,\r\nX: respond-async\r\n"));
}

TEST_CASE("encoded words in a header stay as they are") {
    const Head head = take("GET / HTTP/1.1\r\nHost: x\r\nX: =?UTF-8?Q?a=0D=0Ab?=\r\n\r\n");
    CHECK(head.request->get("X") == "=?UTF-8?Q?a=0D=0Ab?=");
}

TEST_CASE("what two implementations could read differently is refused") {
    const std::string start = "POST / HTTP/1.1\r\nHost: x\r\n";
    const std::string cases[] = {
        start + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        start + "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
        start + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        start + "Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
        start + "Content-Length: 1, 1\r\n\r\n",
        start + "Content-Length: +1\r\n\r\n",
        start + "Content-Length: -1\r\n\r\n",
        start + "Content-Length: 0x1\r\n\r\n",
        start + "Content-Length:\r\n\r\n",
        start + "Content-Length: 1 1\r\n\r\n",
        start + "Content-Length: 99999999999999999999\r\n\r\n",
        start + "Host: y\r\n\r\n",
        start + "host: x\r\n\r\n",
        start + "X: a\r\n b\r\n\r\n",
        start + "X: a\r\n\tb\r\n\r\n",
        start + "X : a\r\n\r\n",
        start + "Content-Length : 1\r\n\r\n",
        start + ": a\r\n\r\n",
        start + "no colon\r\n\r\n",
        start + "X: a\rb\r\n\r\n",
        start + "X: a\nY: b\r\n\r\n",
        start + "X: a\n\r\n",
        start + std::string("X: a\0b\r\n\r\n", 10),
        start + "X: a\x01\r\n\r\n",
        start + "X: a\x7f\r\n\r\n",
        start + "X\x80: a\r\n\r\n",
        start + "Expect: something\r\n\r\n",
        " GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: x\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /\tb HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /#a HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /\xc3\xa4 HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET a HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.2\r\nHost: x\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: x\r\n\r\n",
        "GET / http/1.1\r\nHost: x\r\n\r\n",
        "G(T / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n",
        "GET http://y/ HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "\r\n\r\n",
        "\x16\x03\x01\x02",
    };
    for (const auto& bytes : cases) {
        INFO(bytes);
        CHECK(code_of([&] { take(bytes); }) == Code::invalid);
    }
    for (const auto* coding : {"gzip, chunked", "identity", "chunked, chunked", "xchunked", "chunked;a=b"}) {
        INFO(coding);
        CHECK(code_of([&] { take(start + "Transfer-Encoding: " + coding + "\r\n\r\n"); }) ==
              Code::not_implemented);
    }
}

TEST_CASE("heads have limits, complete or not") {
    Limits limits;
    limits.uri_bytes = 100;
    limits.header_bytes = 1000;
    limits.header_count = 5;
    const std::string long_target = "/" + std::string(300, 'a');
    CHECK(code_of([&] { take("GET " + long_target, limits); }) == Code::uri_too_long);
    CHECK(code_of([&] { take("GET " + long_target + " HTTP/1.1\r\nHost: x\r\n\r\n", limits); }) ==
          Code::uri_too_long);
    CHECK(code_of([&] { take("GET /" + std::string(100, 'a') + " HTTP/1.1\r\nHost: x\r\n\r\n", limits); }) ==
          Code::uri_too_long);
    CHECK(take("GET /" + std::string(99, 'a') + " HTTP/1.1\r\nHost: x\r\n\r\n", limits).http11);
    const std::string start = "GET / HTTP/1.1\r\nHost: x\r\n";
    CHECK(code_of([&] { take(start + "X: " + std::string(2000, 'a'), limits); }) == Code::headers_too_large);
    CHECK(code_of([&] { take(start + "X: " + std::string(2000, 'a') + "\r\n\r\n", limits); }) ==
          Code::headers_too_large);
    CHECK(code_of([&] { take(start + "A:1\r\nB:1\r\nC:1\r\nD:1\r\nE:1\r\n\r\n", limits); }) ==
          Code::headers_too_large);
    CHECK(take(start + "A:1\r\nB:1\r\nC:1\r\nD:1\r\n\r\n", limits).http11);
    // In one piece, as a fast client sends it.
    HeadScanner scanner;
    CHECK(code_of([&] { scanner.scan(start + "X: " + std::string(2000, 'a') + "\r\n\r\n", limits); }) ==
          Code::headers_too_large);
}

TEST_CASE("chunks are decoded wherever they are cut") {
    const std::string bytes = "5\r\nhello\r\nA;x=\"y\"\r\n, chunked!\r\n000\r\nTrailer: 1\r\n\r\nGET ";
    for (std::size_t step = 1; step <= bytes.size(); ++step) {
        INFO(step);
        std::size_t used = 0;
        CHECK(decode_body(bytes, step, &used) == "hello, chunked!");
        CHECK(used == bytes.size() - 4);
    }
}

TEST_CASE("broken chunks are refused") {
    for (const char* bytes :
         {"\r\n", "x\r\n", " 5\r\nhello\r\n", "5 \r\nhello\r\n", "0x5\r\nhello\r\n", "-1\r\n", "5\nhello\r\n",
          "5\r\nhello0\r\n\r\n", "5\r\nhelloXX0\r\n\r\n", "5\r\nhello\n0\r\n\r\n", "FFFFFFFFFFFFFFFFF\r\n",
          "5;a\rb\r\nhello\r\n0\r\n\r\n", "0\r\nA: b\n\r\n"}) {
        INFO(bytes);
        CHECK(code_of([&] { decode_body(bytes, 3); }) == Code::invalid);
    }
    CHECK(code_of([&] { decode_body("5;" + std::string(400, 'a'), 3); }) == Code::invalid);
    std::string trailers = "0\r\n";
    for (int i = 0; i < 100; ++i) trailers += "A: " + std::string(100, 'b') + "\r\n";
    CHECK(code_of([&] { decode_body(trailers + "\r\n", 64); }) == Code::invalid);
    CHECK(code_of([&] { decode_body("6\r\nhello!\r\n0\r\n\r\n", 3, nullptr, 5); }) == Code::too_large);
    CHECK(code_of([&] { decode_body("3\r\nhel\r\n3\r\nlo!\r\n0\r\n\r\n", 3, nullptr, 5); }) ==
          Code::too_large);
    Framing framing;
    framing.length = 6;
    CHECK(code_of([&] { BodyDecoder(framing, 5); }) == Code::too_large);
}
