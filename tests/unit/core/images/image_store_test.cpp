#include "tests/unit/core/images/support.hpp"

#include <poll.h>
#include <sys/stat.h>

using namespace minions;
using namespace minions::core;
using namespace minions::core::test;
using namespace std::chrono_literals;

TEST_CASE("a built image is listed, and a VM gets its files") {
    ImageWorld world;
    const Value made = world.build("box");
    CHECK(made["name"].string_or("") == "box");
    CHECK(made["recipe"].string_or("") == "quick");
    const std::string id = made["id"].string_or("");
    CHECK(id.substr(0, 7) == "sha256:");

    const VmImage image = world.acquire("vm1", "box");
    CHECK(image.id == id);
    CHECK(contents(image.disk) == "disk.raw of quick");
    CHECK(contents(image.kernel) == "kernel of quick");
    CHECK(contents(image.initramfs) == "initramfs of quick");
    CHECK(image.disk_bytes == 17);
    CHECK(image.command_line == "root=/dev/vda rw minions.init=/sbin/init quiet");
    CHECK(world.acquire("vm1", "box").id == id);  // as often as it starts
    CHECK(world.acquire("vm2", id).id == id);
    CHECK(world.acquire("vm3", id.substr(0, 20)).id == id);

    const Value listed = *world.images->list().if_array()->begin();
    CHECK(to_json(listed["used_by"]) == R"(["name-of-vm1","name-of-vm2","name-of-vm3"])");
    CHECK((*world.images->get("box")["manifest"]["packages"].if_array())[0]["name"].string_or("") == "a");
    CHECK(world.journal_rows() == 0);

    struct stat info {};
    REQUIRE(::stat(image.disk.c_str(), &info) == 0);
    CHECK((info.st_mode & 07777U) == 0640);
}

TEST_CASE("images are there after a restart of the daemon") {
    ImageWorld world;
    const Value made = world.build("box");
    world.open();
    CHECK(world.images->recover().empty());
    CHECK(world.acquire("vm1", "box").id == made["id"].string_or(""));
}

TEST_CASE("the default image stands in where none is named") {
    ImageWorld world;
    CHECK(error_of([&] { world.acquire("vm1", ""); }).code() == Code::not_found);
    CHECK(error_of([&] { world.images->check(""); }).message().find("field 'image'") == 0);
    world.build("box");
    world.default_name = "box";
    CHECK(world.images->check("") == "box");
    CHECK(contents(world.acquire("vm1", "").disk) == "disk.raw of quick");
    const Error unknown = error_of([&] { world.images->check("other"); });
    CHECK(unknown.code() == Code::invalid);
    CHECK(unknown.message() == "field 'image': image 'other' not found");
    CHECK(unknown.hint().find("minions image list") != std::string::npos);
}

TEST_CASE("an image that is used cannot be deleted; its last name takes it along") {
    ImageWorld world;
    world.build("box");
    world.build("same");  // the same contents: one image with two names
    CHECK(world.files().size() == 1);
    world.acquire("vm1", "box");
    CHECK(world.images->remove("same")->wait()["message"].string_or("") == "image 'same' deleted");
    const Error used = error_of([&] { world.images->remove("box")->wait(); });
    CHECK(used.code() == Code::conflict);
    CHECK(used.message() == "image 'box' is used by name-of-vm1");
    JournalRow row;
    row.instance = "vm1";
    world.images->release(row);
    world.images->remove("box")->wait();
    CHECK(world.files().empty());
    CHECK(world.images->list().if_array()->empty());
    CHECK(error_of([&] { world.images->remove("box"); }).code() == Code::not_found);
    CHECK(world.journal_rows() == 0);
    world.build("box");  // the name is free again
}

TEST_CASE("a name is not taken twice") {
    ImageWorld world;
    world.build("box");
    CHECK(error_of([&] { world.build("box"); }).code() == Code::conflict);
    CHECK(error_of([&] { world.build("Box"); }).code() == Code::invalid);
}

TEST_CASE("a file that has changed is noticed at use") {
    ImageWorld world;
    world.build("box");
    const VmImage image = world.acquire("vm1", "box");
    const auto change = [](const std::string& path, const std::string& text) { std::ofstream(path) << text; };
    const auto complaint = [&] { return error_of([&] { world.acquire("vm1", "box"); }); };

    SECTION("disk") { change(image.disk, "disk.raw of QUICK"); }
    SECTION("kernel") { change(image.kernel, "kernel of QUICK"); }
    SECTION("disk, with its old time") {
        const auto time = fs::last_write_time(image.disk);
        change(image.disk, "disk.raw of QUICK");
        fs::last_write_time(image.disk, time);
    }
    SECTION("gone") { fs::remove(image.initramfs); }
    SECTION("manifest") { change(fs::path(image.disk).parent_path() / "manifest.json", "{}"); }
    CHECK(complaint().code() == Code::failed);
    CHECK(complaint().message().find("image 'box' is damaged") == 0);
}

TEST_CASE("a file that was only touched is still the image's") {
    ImageWorld world;
    world.build("box");
    const VmImage image = world.acquire("vm1", "box");
    fs::last_write_time(image.disk, fs::file_time_type::clock::now() + 1h);
    CHECK(world.acquire("vm1", "box").id == image.id);
    // And the look at all of it is not repeated, neither now nor by the next daemon.
    const auto stamp = file_stamp(image.disk);
    world.open();
    const std::string noted = contents(fs::path(image.disk).parent_path() / "verified.json");
    CHECK(decode<FileStamp>(parse_json(noted)) == *stamp);
}

TEST_CASE("a recipe that fails leaves nothing, and says why") {
    ImageWorld world;
    world.recipe("broken", "#!/bin/sh\necho >$2/disk.raw\necho 'error: no archive in reach' >&2\nexit 1\n");
    const Error error = error_of([&] { world.build("box", "broken"); });
    CHECK(error.code() == Code::failed);
    CHECK(error.message() == "the recipe 'broken' failed: error: no archive in reach");
    CHECK(world.files().empty());
    CHECK(world.journal_rows() == 0);
    world.recipe("empty", "#!/bin/sh\n");
    CHECK(error_of([&] { world.build("box", "empty"); }).message().find("manifest") != std::string::npos);
    CHECK(error_of([&] { world.build("box", "nosuch"); }).code() == Code::not_found);
    CHECK(error_of([&] { world.build("box", "../quick"); }).code() == Code::invalid);
    CHECK(world.files().empty());
}

TEST_CASE("a build that is cancelled leaves nothing, and ends what it started") {
    ImageWorld world;
    world.recipe("endless", "#!/bin/sh\necho >$2/disk.raw\necho 'progress 1 2 waiting'\nexec sleep 1000\n");
    ImageBuildSpec spec;
    spec.recipe = "endless";
    const auto operation = world.images->build("box", spec);
    const auto until = std::chrono::steady_clock::now() + 20s;
    while (operation->message() != "waiting" && std::chrono::steady_clock::now() < until)
        std::this_thread::yield();
    CHECK(operation->progress().done == 1);
    CHECK(operation->progress().total == 2);
    CHECK(error_of([&] { world.build("box"); }).code() == Code::busy);
    operation->cancel("the test wants it");
    CHECK(error_of([&] { operation->wait(until); }).code() == Code::cancelled);
    CHECK(world.files().empty());
    CHECK(world.journal_rows() == 0);
}

TEST_CASE("what a daemon that died left half made is removed by the next") {
    ImageWorld world;
    world.build("box");
    const std::string kept = *world.files().begin();
    // A build under way, an image whose row was not committed, and one that was being removed.
    for (const char* name : {".new-abcdefghijkl", "0123", "4567"}) {
        fs::create_directories(world.top / name / "tree");
        std::ofstream(world.top / name / "tree" / "file") << "x";
        world.store.transact(
            [&](Transaction& transaction) { transaction.insert_journal(image_files_record(name, "")); });
    }
    // And one that had just become an image when its row was to go.
    world.store.transact(
        [&](Transaction& transaction) { transaction.insert_journal(image_files_record(kept, "")); });
    world.open();
    CHECK(world.images->recover().empty());
    CHECK(world.files() == std::set<std::string>{kept});
    CHECK(world.journal_rows() == 0);
    CHECK_FALSE(world.acquire("vm1", "box").id.empty());
}

TEST_CASE("an imported disk starts with the kernel of another image") {
    ImageWorld world;
    CHECK(error_of([&] { world.import("disk", raw_disk()); }).message().find("field 'kernel_from'") == 0);
    world.build("box");
    world.default_name = "box";
    const Value made = world.import("disk", raw_disk());
    CHECK(made["recipe"].string_or("") == "import");
    const VmImage image = world.acquire("vm1", "disk");
    CHECK(contents(image.disk) == raw_disk());
    CHECK(contents(image.kernel) == "kernel of quick");
    CHECK(image.command_line == "root=/dev/vda rw minions.init=/sbin/init quiet");
    // It stands by itself.
    world.images->remove("box")->wait();
    CHECK(world.acquire("vm1", "disk").id == image.id);

    ImportSpec other;
    other.kernel_from = "disk";
    other.command_line = "root=/dev/vda1";
    world.import("other", raw_disk(), other);
    CHECK(world.acquire("vm2", "other").command_line == "root=/dev/vda1");
    CHECK(world.journal_rows() == 0);
}

TEST_CASE("an import that is refused leaves nothing") {
    ImageWorld world;
    world.build("box");
    world.default_name = "box";
    const auto before = world.files();
    const auto refused = [&](const std::string& bytes, const std::string& format) {
        return error_of([&] { world.import("disk", bytes, {format, "", ""}); });
    };
    CHECK(refused("", "").message().find("the body is empty") == 0);
    CHECK(refused("just some words", "").message().find("it cannot be told what the body is") == 0);
    CHECK(refused(raw_disk(), "qcow2").message() == "the body is no qcow2, but raw");
    CHECK(refused(raw_disk(), "vmdk").message() == "field 'format' must not be 'vmdk'");
    CHECK(refused("QFI\xfb and more", "").code() == Code::invalid);
    CHECK(refused("QFI\xfb and more", "raw").message() == "the body is no raw, but qcow2");
    CHECK(error_of([&] { world.import("disk", std::string((64U << 20U) + 1, 'x')); }).code() ==
          Code::too_large);
    CHECK(world.files() == before);
    CHECK(world.journal_rows() == 0);
    // A raw disk without a partition table, by its sender's word.
    world.import("disk", "just some words", {"raw", "", ""});
    CHECK(contents(world.acquire("vm1", "disk").disk) == "just some words" + std::string(512 - 15, '\0'));
}

TEST_CASE("a disk keeps its holes") {
    ImageWorld world;
    world.build("box");
    world.default_name = "box";
    world.import("disk", raw_disk() + std::string(32U << 20U, '\0') + "end");
    struct stat info {};
    REQUIRE(::stat(world.acquire("vm1", "disk").disk.c_str(), &info) == 0);
    CHECK(info.st_size == 8192 + (32 << 20) + 512);
    CHECK(info.st_blocks * 512 < 1 << 20);
}
