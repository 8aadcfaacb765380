#include "tests/unit/base/no_more_files.hpp"

#include <minions/base/frame.hpp>

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <sys/socket.h>

#include <set>
#include <stdexcept>
#include <system_error>
#include <thread>

using namespace minions;

namespace {

std::set<int> open_descriptors() {
    std::set<int> result;
    for (int fd = 0; fd < 1024; ++fd) {
        if (::fcntl(fd, F_GETFD) != -1) result.insert(fd);
    }
    return result;
}

/// A raw message, as a peer that does not keep to the rules may send it.
void send_raw(int socket, std::string_view bytes, const std::vector<int>& fds) {
    iovec part{const_cast<char*>(bytes.data()), bytes.size()};
    std::vector<char> control(CMSG_SPACE(fds.size() * sizeof(int)));
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::copy(fds.begin(), fds.end(), reinterpret_cast<int*>(CMSG_DATA(rights)));
    REQUIRE(::sendmsg(socket, &message, 0) == static_cast<ssize_t>(bytes.size()));
}

}  // namespace

TEST_CASE("frames arrive whole, in order, with their descriptors") {
    FdPair pair = make_socketpair(SOCK_STREAM);
    FdPair pipe = make_pipe();
    send_frame(pair.first.get(), "one", {pipe.second.get()});
    send_frame(pair.first.get(), "", {pipe.first.get(), pipe.second.get()});
    send_frame(pair.first.get(), "three");
    pair.first.reset();

    auto one = recv_frame(pair.second.get(), 100);
    REQUIRE(one);
    CHECK(one->bytes == "one");
    REQUIRE(one->fds.size() == 1);
    CHECK((::fcntl(one->fds[0].get(), F_GETFD) & FD_CLOEXEC) != 0);
    write_all(one->fds[0].get(), "x", 1);
    char byte = 0;
    CHECK(read_exact(pipe.first.get(), &byte, 1));
    CHECK(recv_frame(pair.second.get(), 100)->fds.size() == 2);
    auto three = recv_frame(pair.second.get(), 100);
    CHECK(three->bytes == "three");
    CHECK(three->fds.empty());
    CHECK_FALSE(recv_frame(pair.second.get(), 100));
}

TEST_CASE("a frame larger than the socket's buffer arrives whole, on a non-blocking socket too") {
    FdPair pair = make_socketpair(SOCK_STREAM);
    ::fcntl(pair.first.get(), F_SETFL, O_NONBLOCK);
    ::fcntl(pair.second.get(), F_SETFL, O_NONBLOCK);
    std::string big(5'000'000, 'x');
    for (std::size_t i = 0; i < big.size(); ++i) big[i] = static_cast<char>(i * 31 >> 3U);
    std::thread sender([&] { send_frame(pair.first.get(), big, {pair.first.get()}); });
    const auto frame = recv_frame(pair.second.get(), big.size());
    sender.join();
    CHECK(frame->bytes == big);
    CHECK(frame->fds.size() == 1);
}

TEST_CASE("a frame cut to single bytes is put together") {
    FdPair pair = make_socketpair(SOCK_STREAM);
    const std::string raw("\x03\0\0\0abc", 7);
    std::thread sender([&] {
        for (const char each : raw) write_all(pair.first.get(), &each, 1);
    });
    CHECK(recv_frame(pair.second.get(), 3)->bytes == "abc");
    sender.join();
}

TEST_CASE("a process that is out of descriptors loses those of a frame, and nothing else") {
    FdPair pair = make_socketpair(SOCK_STREAM);
    const int fd = pair.first.get();
    send_frame(fd, "one", {fd, fd, fd});
    send_frame(fd, "two", {fd});
    const auto before = open_descriptors();
    {
        const testing::NoMoreFiles limit(1);
        const auto one = recv_frame(pair.second.get(), 100);
        CHECK(one->bytes == "one");
        CHECK(one->fds_lost);
        CHECK(one->fds.empty());
    }
    CHECK(open_descriptors() == before);
    const auto two = recv_frame(pair.second.get(), 100);
    CHECK(two->bytes == "two");
    CHECK_FALSE(two->fds_lost);
    CHECK(two->fds.size() == 1);
}

TEST_CASE("garbage is refused with a sentence and without leaking descriptors") {
    const auto before = open_descriptors();
    {
        FdPair pair = make_socketpair(SOCK_STREAM);
        const int fd = pair.first.get();
        SECTION("too long") {
            send_frame(fd, "12345", {fd, fd});
            CHECK_THROWS_WITH(recv_frame(pair.second.get(), 4),
                              "a frame of 5 bytes is longer than the 4 that are allowed");
        }
        SECTION("cut off in the length and in the bytes") {
            write_all(fd, "\x03\0", 2);
            pair.first.reset();
            CHECK_THROWS_WITH(recv_frame(pair.second.get(), 100),
                              Catch::Contains("in the middle of a frame"));
        }
        SECTION("cut off in the bytes") {
            write_all(fd, "\x03\0\0\0ab", 6);
            pair.first.reset();
            CHECK_THROWS_WITH(recv_frame(pair.second.get(), 100),
                              Catch::Contains("in the middle of a frame"));
        }
        SECTION("too many descriptors") {
            send_raw(fd, std::string_view("\x01\0\0\0a", 5), std::vector<int>(20, fd));
            CHECK_THROWS_WITH(recv_frame(pair.second.get(), 100), Catch::Contains("more than 8"));
        }
        SECTION("descriptors in the middle") {
            write_all(fd, "\x02\0\0\0a", 5);
            send_raw(fd, "b", {fd});
            CHECK_THROWS_WITH(recv_frame(pair.second.get(), 100), Catch::Contains("in its middle"));
        }
        CHECK_THROWS_AS(send_frame(fd, "x", std::vector<int>(9, fd)), std::runtime_error);
    }
    CHECK(open_descriptors() == before);
}

TEST_CASE("sending to a peer that is gone throws instead of raising SIGPIPE") {
    FdPair pair = make_socketpair(SOCK_STREAM);
    pair.second.reset();
    CHECK_THROWS_AS(send_frame(pair.first.get(), "x"), std::system_error);
}
