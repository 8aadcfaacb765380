#include "plugins/vmkit/console.hpp"

#include "tests/unit/plugins/vmkit/vm_world.hpp"

#include <minions/base/files.hpp>

#include <catch2/catch.hpp>

#include <csignal>
#include <filesystem>
#include <thread>

using namespace minions;
using namespace minions::vmkit;
using minions::test::code_thrown;
using minions::test::Collected;
using minions::test::Scratch;
using minions::test::TestContext;

namespace {

void append(const std::string& path, std::string_view text) {
    const Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    test::put(file.get(), text);
}

std::string read_all(const Scratch& scratch, const LogsSpec& spec) {
    TestContext ctx;
    auto pipe = make_pipe();
    Collected text(std::move(pipe.first));
    read_output(ctx, scratch.path, "vmm.out", spec, -1, std::move(pipe.second));
    return text.text();
}

}  // namespace

TEST_CASE("a console is read from its oldest part on, or from its end") {
    const Scratch scratch;
    CHECK(read_all(scratch, {}).empty());
    append(scratch.path + "/vmm.out.1", "one\ntwo\n");
    append(scratch.path + "/vmm.out", "three\nfour\n");
    CHECK(read_all(scratch, {}) == "one\ntwo\nthree\nfour\n");
    CHECK(read_all(scratch, {2, false}) == "three\nfour\n");
    CHECK(read_all(scratch, {3, false}) == "two\nthree\nfour\n");
    CHECK(read_all(scratch, {100, false}) == "one\ntwo\nthree\nfour\n");
    CHECK(read_all(scratch, {0, false}).empty());
    append(scratch.path + "/vmm.out", "half");
    CHECK(read_all(scratch, {1, false}) == "half");
    CHECK(last_lines(scratch.path, "vmm.out", 2) == "four\nhalf");
    CHECK(last_lines(scratch.path, "vmm.err", 2).empty());
}

TEST_CASE("who follows a console misses nothing of it when its file is replaced") {
    const Scratch scratch;
    const std::string path = scratch.path + "/vmm.out";
    append(path, "first\n");
    TestContext ctx;
    EventFd over;
    auto pipe = make_pipe();
    Collected text(std::move(pipe.first));
    std::thread reader([&, out = std::move(pipe.second)]() mutable {
        read_output(ctx, scratch.path, "vmm.out", {std::nullopt, true}, over.fd(), std::move(out));
    });
    CHECK(text.saw("first\n"));
    append(path, "second\n");
    CHECK(text.saw("second\n"));
    append(path, "third\n");
    std::filesystem::rename(path, path + ".1");
    append(path, "fourth\n");
    CHECK(text.saw("fourth\n"));
    append(path, "last\n");
    over.raise();
    reader.join();
    CHECK(text.text() == "first\nsecond\nthird\nfourth\nlast\n");
}

TEST_CASE("following ends with its call and with its reader") {
    const Scratch scratch;
    append(scratch.path + "/vmm.out", "text\n");
    SECTION("cancelled") {
        TestContext ctx;
        auto pipe = make_pipe();
        ctx.cancel();
        CHECK(code_thrown([&] {
                  read_output(ctx, scratch.path, "vmm.out", {std::nullopt, true}, -1, std::move(pipe.second));
              }) == "cancelled");
    }
    SECTION("the reader has gone") {
        ::signal(SIGPIPE, SIG_IGN);  // as the daemon does
        TestContext ctx;
        auto pipe = make_pipe();
        pipe.first.reset();
        read_output(ctx, scratch.path, "vmm.out", {std::nullopt, true}, -1, std::move(pipe.second));
    }
}
