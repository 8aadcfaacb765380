#include "plugins/vmkit/disks.hpp"

#include "plugins/vmkit/qcow2.hpp"
#include "tests/unit/plugins/vmkit/vm_world.hpp"

#include <minions/base/files.hpp>

#include <catch2/catch.hpp>
#include <sys/stat.h>

using namespace minions;
using namespace minions::vmkit;
using minions::test::code_thrown;
using minions::test::Scratch;
using minions::test::TestContext;

namespace {

void write(const std::string& path, std::string_view text) { write_file_atomic(path, text, 0644); }

struct stat look(const std::string& path) {
    struct stat info {};
    REQUIRE(::lstat(path.c_str(), &info) == 0);
    return info;
}

ProcessHome home_in(const Scratch& scratch) { return {::getuid(), ::getgid(), scratch.path, scratch.path}; }

}  // namespace

TEST_CASE("a disk over an image takes next to no space and can grow") {
    const Scratch scratch;
    const std::string path = scratch.path + "/disk";
    make_qcow2(path, 3 * gib, "/images/some/disk.raw");
    CHECK(qcow2_size(path) == 3 * gib);
    CHECK(look(path).st_blocks * 512 < 256 * 1024);
    CHECK((look(path).st_mode & 0777) == 0600);
    CHECK(read_file(path, 16 << 20).find("/images/some/disk.raw") != std::string::npos);

    grow_qcow2(path, 5000 * gib);
    CHECK(qcow2_size(path) == 5000 * gib);
    grow_qcow2(path, gib);  // never smaller
    CHECK(qcow2_size(path) == 5000 * gib);
    CHECK(code_thrown([&] { grow_qcow2(path, 65537 * gib); }) == "invalid");
    CHECK(qcow2_size(path) == 5000 * gib);
    CHECK_FALSE(code_thrown([&] { make_qcow2(path, gib, "/other"); }).empty());  // what is there stays
    CHECK(qcow2_size(path) == 5000 * gib);
}

TEST_CASE("a disk whose table a VMM has moved can still grow") {
    const Scratch scratch;
    const std::string path = scratch.path + "/disk";
    make_qcow2(path, 3 * gib, "/images/some/disk.raw");
    {
        const Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
        const char elsewhere[] = {0, 0, 0, 0, 0, 0x40, 0, 0};
        REQUIRE(::pwrite(file.get(), elsewhere, 8, 40) == 8);
    }
    CHECK(qcow2_size(path) == 3 * gib);
    grow_qcow2(path, 4096 * gib);
    CHECK(qcow2_size(path) == 4096 * gib);
    CHECK(code_thrown([&] { grow_qcow2(path, 4097 * gib); }) == "invalid");
}

TEST_CASE("what is no disk of ours is refused") {
    const Scratch scratch;
    write(scratch.path + "/disk", std::string(4096, 'x'));
    CHECK(code_thrown([&] { qcow2_size(scratch.path + "/disk"); }) == "failed");
    CHECK(code_thrown([&] { qcow2_size(scratch.path + "/absent"); }) == "not_found");
}

TEST_CASE("a machine's disk has the size that was asked for, or the image's") {
    const Scratch scratch;
    const ProcessHome home = home_in(scratch);
    VmImage image;
    image.disk = scratch.path + "/image.raw";
    write(image.disk, std::string(1 << 20, 'i'));
    image.disk_bytes = 1 << 20;
    const Disk disk = make_disk(home, image, 2 * gib);
    CHECK(disk_bytes(disk) == 2 * gib);
    CHECK(look(disk.path).st_blocks * 512 < 2 << 20);
    const Disk again = make_disk(home, image, 1);  // what a create that failed left is replaced
    CHECK(again.path == disk.path);
    CHECK(disk_bytes(again) == 1 << 20);
    grow_disk(again, gib);
    CHECK(disk_bytes(again) == gib);
    CHECK((look(again.path).st_mode & 0777) == 0600);

    image.disk = scratch.path + "/absent.raw";
    CHECK(code_thrown([&] { make_disk(home, image, gib); }) == "not_found");
}

TEST_CASE("a copy keeps contents and holes, and leaves nothing when it is cut off") {
    const Scratch scratch;
    const std::string from = scratch.path + "/from";
    {
        const Fd file(::open(from.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
        REQUIRE(::pwrite(file.get(), "begin", 5, 0) == 5);
        REQUIRE(::pwrite(file.get(), "middle", 6, 40 << 20) == 6);
        REQUIRE(::ftruncate(file.get(), 100 << 20) == 0);
    }
    TestContext ctx;
    const std::string to = scratch.path + "/to";
    copy_file(ctx, from, to, home_in(scratch));
    CHECK(read_file(to, 200 << 20) == read_file(from, 200 << 20));
    CHECK(look(to).st_blocks * 512 < 4 << 20);
    CHECK_FALSE(code_thrown([&] { copy_file(ctx, from, to, home_in(scratch)); }).empty());
    CHECK(look(to).st_size == 100 << 20);  // what was there is untouched

    TestContext cancelled;
    cancelled.cancel();
    const std::string cut = scratch.path + "/cut";
    const std::string code = code_thrown([&] { copy_file(cancelled, from, cut, home_in(scratch)); });
    // A file system that shares blocks is done before anybody could cancel.
    CHECK((code == "cancelled" || code.empty()));
    CHECK(std::filesystem::exists(cut) == code.empty());
}
