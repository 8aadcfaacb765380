#include "tests/unit/core/images/support.hpp"

#include <minions/base/tar.hpp>

#include <unistd.h>

using namespace minions;
using namespace minions::core;
using namespace minions::core::test;

namespace {

struct World : ImageWorld {
    World() {
        build("box");
        default_name = "box";
    }
    fs::path scratch(const std::string& name) const { return directory.path() / name; }
};

/// A qcow2 image of a raw one, by the program whose format it is.
std::string qcow2_of(const World& world, const std::string& disk,
                     const std::vector<std::string>& options = {}) {
    std::ofstream(world.scratch("disk.raw"), std::ios::binary) << disk;
    std::vector<std::string> argv = {"qemu-img", "convert", "-f", "raw", "-O", "qcow2"};
    argv.insert(argv.end(), options.begin(), options.end());
    argv.insert(argv.end(), {world.scratch("disk.raw"), world.scratch("disk.qcow2")});
    output_of(argv);
    return contents(world.scratch("disk.qcow2"));
}

std::string small_system() {
    std::string archive;
    TarWriter writer([&](std::string_view piece) { archive += piece; });
    writer.add_directory("etc");
    writer.add_file("etc/greeting", "hello\n", 0640);
    writer.add_symlink("etc/link", "greeting");
    writer.finish();
    return archive;
}

}  // namespace

TEST_CASE("formats are told by their first bytes") {
    const auto head = [](std::size_t at, std::string_view magic) {
        std::string bytes(disk_head_bytes, '\0');
        bytes.replace(at, magic.size(), magic);
        return detect_disk_format(bytes);
    };
    CHECK(head(0, "QFI\xfb") == DiskFormat::qcow2);
    CHECK(head(0, "\x1f\x8b") == DiskFormat::tar_gz);
    CHECK(head(0, "\x28\xb5\x2f\xfd") == DiskFormat::tar_zst);
    CHECK(head(257, "ustar") == DiskFormat::tar);
    CHECK(head(510, "\x55\xaa") == DiskFormat::raw);
    CHECK(head(1080, "\x53\xef") == DiskFormat::raw);
    CHECK(head(100, "nothing") == std::nullopt);
    CHECK(detect_disk_format("") == std::nullopt);
    CHECK(disk_format_from_word("tar.gz") == DiskFormat::tar_gz);
    CHECK(disk_format_from_word("vdi") == std::nullopt);
}

TEST_CASE("a qcow2 image becomes a raw disk") {
    World world;
    const std::string disk = raw_disk(1U << 20U) + std::string(3U << 20U, '\0');
    world.import("disk", qcow2_of(world, disk));
    CHECK(contents(world.acquire("vm1", "disk").disk) == disk);
    world.import("old", qcow2_of(world, raw_disk(), {"-o", "compat=0.10"}));
    CHECK(contents(world.acquire("vm2", "old").disk) == raw_disk());
}

TEST_CASE("a qcow2 image that needs other files is refused before anything reads it") {
    World world;
    const auto before = world.files();
    const std::string canary = world.scratch("secret");
    std::ofstream(canary) << raw_disk();
    const auto refused = [&](const std::string& bytes) {
        return error_of([&] { world.import("disk", bytes); }).message();
    };
    output_of(
        {"qemu-img", "create", "-q", "-f", "qcow2", "-b", canary, "-F", "raw", world.scratch("backed")});
    CHECK(refused(contents(world.scratch("backed"))) == "the qcow2 image has a backing file");
    output_of({"qemu-img", "create", "-q", "-f", "qcow2", "-o",
               "data_file=" + world.scratch("data").string() + ",data_file_raw=on", world.scratch("outside"),
               "1M"});
    CHECK(refused(contents(world.scratch("outside"))) == "the qcow2 image keeps its data in another file");
    std::string strange = qcow2_of(world, raw_disk());
    strange[7] = 9;
    CHECK(refused(strange) == "the disk is a qcow2 image of version 9");
    output_of({"qemu-img", "create", "-q", "-f", "qcow2", world.scratch("large"), "1G"});
    CHECK(error_of([&] { world.import("disk", contents(world.scratch("large"))); }).code() ==
          Code::too_large);
    CHECK(world.files() == before);
}

TEST_CASE("a damaged qcow2 image fails with what qemu-img says of it") {
    World world;
    const auto before = world.files();
    const std::string whole = qcow2_of(world, raw_disk(1U << 20U));
    std::string damaged = whole;
    for (std::size_t at = 40; at < 48; ++at) damaged[at] = '\x7f';  // the offset of its first table
    const Error error = error_of([&] { world.import("disk", damaged); });
    CHECK(error.code() == Code::failed);
    CHECK(error.message().find("qemu-img failed: ") == 0);
    CHECK(world.files() == before);
}

TEST_CASE("an archive becomes an ext4 disk, however it is packed, whose init is the agent") {
    if (::geteuid() != 0) return;  // owners of files are root's to give
    World world;
    std::ofstream(world.scratch("a.tar"), std::ios::binary) << small_system();
    std::string format = "tar";
    SECTION("plain") {}
    SECTION("gzip") {
        output_of({"gzip", world.scratch("a.tar")});
        fs::rename(world.scratch("a.tar.gz"), world.scratch("a.tar"));
        format = "tar.gz";
    }
    SECTION("zstd") {
        output_of({"zstd", "-q", "--rm", world.scratch("a.tar"), "-o", world.scratch("b")});
        fs::rename(world.scratch("b"), world.scratch("a.tar"));
        format = "tar.zst";
    }
    world.import("disk", contents(world.scratch("a.tar")), {format, "", ""});
    const VmImage image = world.acquire("vm1", "disk");
    CHECK(output_of({"debugfs", "-R", "cat /etc/greeting", image.disk}) == "hello\n");
    CHECK(output_of({"debugfs", "-R", "stat /etc/link", image.disk}).find("symlink") != std::string::npos);
    CHECK(image.command_line == "root=/dev/vda rw quiet");
    CHECK(world.images->get("disk")["manifest"]["arguments"]["format"].string_or("") == format);
    output_of({"e2fsck", "-fn", image.disk});
}

TEST_CASE("an archive that is cut off is refused, and leaves nothing") {
    if (::geteuid() != 0) return;
    World world;
    const auto before = world.files();
    const std::string whole = small_system();
    const Error error = error_of([&] { world.import("disk", whole.substr(0, 1300)); });
    CHECK(error.code() == Code::invalid);
    CHECK(error.message() == "the archive is truncated");
    CHECK(error_of([&] { world.import("disk", "\x1f\x8bnothing that gzip made"); }).code() == Code::invalid);
    CHECK(world.files() == before);
    CHECK(world.journal_rows() == 0);
}
