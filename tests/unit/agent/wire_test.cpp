#include <minions/agent/frame.hpp>
#include <minions/agent/pipes.hpp>

#include <catch2/catch.hpp>
#include <sys/socket.h>

#include <thread>

using namespace minions;
using namespace minions::agent;

TEST_CASE("fields keep what they are given, in order, and ignore nothing but unknown tags") {
    Fields fields;
    fields.add(tag::argument, "ls")
        .add(tag::argument, "")
        .add_number(tag::rows, -2)
        .add(200, "of a newer version");
    const Fields read = Fields::parse(fields.bytes());
    CHECK(read.all(tag::argument) == std::vector<std::string>{"ls", ""});
    CHECK(read.number(tag::rows) == -2);
    CHECK_FALSE(read.text(tag::path));
    CHECK_THROWS_AS(read.number(tag::argument), ProtocolError);
    for (std::size_t size = 1; size < 5; ++size)
        CHECK_THROWS_AS(Fields::parse(fields.bytes().substr(0, size)), ProtocolError);
    CHECK_THROWS_AS(Fields::parse(std::string("\x0B\xFF\xFF\xFF\xFFx", 6)), ProtocolError);
}

TEST_CASE("frames come out as they went in, however they are cut") {
    const std::string bytes =
        make_frame({FrameType::data, 2, 7, 9}, "hello") + make_frame({FrameType::eof, 2, 7, 9}, "");
    for (std::size_t piece = 1; piece <= bytes.size(); ++piece) {
        FrameReader reader;
        std::vector<std::string> seen;
        for (std::size_t at = 0; at < bytes.size(); at += piece) {
            reader.feed(bytes.substr(at, piece));
            while (const auto frame = reader.next()) {
                CHECK(frame->head.stream == 7);
                CHECK(frame->head.epoch == 9);
                CHECK(frame->head.channel == 2);
                seen.emplace_back(frame->payload);
            }
        }
        CHECK(seen == std::vector<std::string>{"hello", ""});
    }
}

TEST_CASE("what is no frame is refused") {
    const auto refused = [](const std::string& bytes) {
        FrameReader reader;
        reader.feed(bytes);
        CHECK_THROWS_AS(reader.next(), ProtocolError);
    };
    refused("GET / HTTP/1.1\r\n\r\n");
    std::string frame = make_frame({FrameType::data, 0, 1, 1}, "x");
    frame[1] = 0;
    refused(frame);
    frame[1] = 99;
    refused(frame);
    frame[1] = static_cast<char>(FrameType::data);
    frame[14] = 1;  // a length of more than 64 KiB
    frame[15] = 1;
    refused(frame);
}

TEST_CASE("zeros end a half frame, and the nonce is found behind whatever was left") {
    const std::string nonce(nonce_bytes, 'n');
    const std::string done =
        make_frame({FrameType::reset_done, 0, 0, 0}, Fields().add(tag::nonce, nonce).bytes());
    SECTION("a receiver in the middle of the longest frame") {
        FrameReader reader;
        reader.feed(make_frame({FrameType::data, 1, 1, 1}, std::string(most_payload, 'x'))
                        .substr(0, header_bytes + 1));
        reader.feed(make_flush() + done);
        CHECK(reader.next()->head.type == FrameType::data);
        CHECK(reader.next()->head.type == FrameType::reset_done);
        CHECK_FALSE(reader.next());
    }
    SECTION("one that looks for its nonce, fed byte by byte") {
        FrameReader reader;
        reader.seek(nonce);
        const std::string rest = "\xD7half a frame" + make_frame({FrameType::hello, 0, 0, 0}, "old") + done +
                                 make_frame({FrameType::hello, 0, 0, 0}, "new");
        std::vector<std::string> seen;
        for (const char each : rest) {
            reader.feed({&each, 1});
            while (const auto frame = reader.next()) seen.emplace_back(frame->payload);
        }
        CHECK(seen == std::vector<std::string>{"new"});
    }
}

TEST_CASE("a peer that takes more than it was granted, or grants more than it got, is refused") {
    Loop loop;
    auto pair = make_socketpair(SOCK_STREAM);
    Link link(loop, std::move(pair.first),
              {[](const FrameHead&, std::string_view) {}, [](const std::string&) {}});
    auto full = make_pipe();
    Inlet inlet(link, {1, channel_output}, std::move(full.second), [] {});
    inlet.take(std::string(initial_window, 'x'));  // more than the pipe holds: some of it waits
    CHECK_THROWS_AS(inlet.take(std::string(initial_window, 'x')), ProtocolError);
    auto empty = make_pipe();
    Outlet outlet(link, {1, channel_input}, std::move(empty.first), [] {});
    CHECK_THROWS_AS(outlet.grant(1), ProtocolError);
}
