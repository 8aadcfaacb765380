#include "core/images/tar_tree.hpp"

#include "tests/unit/core/images/support.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

using namespace minions;
using namespace minions::core;
using namespace minions::core::test;

namespace {

/// Headers as they come from strangers: what TarWriter would never write.
struct Archive {
    std::string bytes;

    Archive& add(const std::string& name, char type, const std::string& link = "",
                 const std::string& data = "", unsigned uid = 0, unsigned gid = 0, unsigned mode = 0644) {
        char block[512] = {};
        std::memcpy(block, name.data(), std::min<std::size_t>(name.size(), 100));
        std::snprintf(block + 100, 8, "%07o", mode);
        std::snprintf(block + 108, 8, "%07o", uid);
        std::snprintf(block + 116, 8, "%07o", gid);
        std::snprintf(block + 124, 12, "%011o", static_cast<unsigned>(data.size()));
        std::snprintf(block + 136, 12, "%011o", 1000U);
        block[156] = type;
        std::memcpy(block + 157, link.data(), std::min<std::size_t>(link.size(), 100));
        std::memcpy(block + 257,
                    "ustar\0"
                    "00",
                    8);
        std::memset(block + 148, ' ', 8);
        unsigned sum = 0;
        for (const char each : block) sum += static_cast<unsigned char>(each);
        std::snprintf(block + 148, 8, "%06o", sum);
        bytes.append(block, sizeof block);
        bytes += data;
        bytes.append((512 - data.size() % 512) % 512, '\0');
        return *this;
    }
    std::string finished() const { return bytes + std::string(1024, '\0'); }
};

struct World {
    TemporaryDirectory directory;
    fs::path root = directory.path() / "root";
    World() { fs::create_directory(root); }

    TreeSize extract(const Archive& archive, const TarLimits& limits = {}) const {
        const std::string all = archive.finished();
        std::size_t at = 0;
        const Fd opened(::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        return extract_system(
            [&](char* data, std::size_t size) {
                size = std::min(size, all.size() - at);
                std::memcpy(data, all.data() + at, size);
                at += size;
                return size;
            },
            opened.get(), limits, {});
    }
};

bool is_root() { return ::geteuid() == 0; }

}  // namespace

TEST_CASE("a system is extracted with owners, modes and links as they are") {
    if (!is_root()) return;
    const World world;
    Archive archive;
    archive.add("./", '5', "", "", 0, 0, 0755)
        .add("./usr/bin/", '5', "", "", 0, 0, 0755)
        .add("bin", '2', "usr/bin")
        .add("./usr/bin/su", '0', "", "program", 0, 0, 04755)
        .add("etc/shadow", '0', "", "secret", 0, 42, 0640)
        .add("etc/alternatives/vi", '2', "/usr/bin/vim")
        .add("usr/bin/again", '1', "./usr/bin/su")
        .add("home/a/", '5', "", "", 1000, 1000, 0700);
    const TreeSize size = world.extract(archive);
    CHECK(size.entries == 8);
    CHECK(size.bytes == 2 * 4096);
    const auto stat_of = [&](const char* path) {
        struct stat info {};
        REQUIRE(::lstat((world.root / path).c_str(), &info) == 0);
        return info;
    };
    CHECK((stat_of("usr/bin/su").st_mode & 07777U) == 04755);
    CHECK(stat_of("usr/bin/su").st_mtime == 1000);
    CHECK(stat_of("usr/bin/again").st_ino == stat_of("usr/bin/su").st_ino);
    CHECK(stat_of("etc/shadow").st_gid == 42);
    CHECK(stat_of("home/a").st_uid == 1000);
    CHECK((stat_of("home/a").st_mode & 07777U) == 0700);
    CHECK(fs::read_symlink(world.root / "etc/alternatives/vi") == "/usr/bin/vim");
    CHECK(contents(world.root / "bin" / "su") == "program");
}

TEST_CASE("devices and FIFOs are passed over") {
    if (!is_root()) return;
    const World world;
    world.extract(
        Archive().add("dev/null", '3').add("dev/sda", '4').add("run/fifo", '6').add("a", '0', "", "a"));
    CHECK(contents(world.root / "a") == "a");
    CHECK_FALSE(fs::exists(world.root / "dev"));
    CHECK_FALSE(fs::exists(world.root / "run"));
}

TEST_CASE("nothing outside of the directory is made or changed, whatever links lead there") {
    if (!is_root()) return;
    const World world;
    const fs::path outside = world.directory.path() / "outside";
    fs::create_directory(outside);
    std::ofstream(outside / "file") << "untouched";
    const std::string away = outside;

    SECTION("below an absolute link: it leads into the tree's own root") {
        const std::string inside = "." + away + "/";
        world.extract(Archive().add(inside, '5').add("link", '2', away).add("link/file", '0', "", "evil"));
        CHECK(contents(world.root / inside / "file") == "evil");
    }
    SECTION("below a link up") {
        world.extract(
            Archive().add("outside/", '5').add("link", '2', "../outside").add("link/file", '0', "", "evil"));
        CHECK(contents(world.root / "outside" / "file") == "evil");
    }
    SECTION("through a link in a file's place") {
        world.extract(Archive().add("file", '2', away + "/file").add("file", '0', "", "evil"));
        CHECK(contents(world.root / "file") == "evil");
        CHECK_FALSE(fs::is_symlink(world.root / "file"));
    }
    SECTION("through a link in a directory's place") {
        CHECK_THROWS(world.extract(Archive().add("d", '2', away).add("d/", '5', "", "", 1, 1, 0777)));
    }
    SECTION("by a hard link over a link") {
        CHECK_THROWS(world.extract(Archive().add("link", '2', away).add("hard", '1', "link/file")));
    }
    SECTION("by name") {
        CHECK_THROWS_AS(world.extract(Archive().add("../outside/file", '0', "", "evil")), TarError);
        CHECK_THROWS_AS(world.extract(Archive().add(away + "/file", '0', "", "evil")), TarError);
        CHECK_THROWS_AS(world.extract(Archive().add("hard", '1', "../outside/file")), TarError);
    }
    CHECK(contents(outside / "file") == "untouched");
    CHECK(std::distance(fs::directory_iterator(outside), {}) == 1);
    struct stat info {};
    REQUIRE(::stat(outside.c_str(), &info) == 0);
    CHECK(info.st_uid == 0);
}

TEST_CASE("limits hold for whole systems too") {
    if (!is_root()) return;
    const World world;
    const Archive archive = Archive().add("a", '0', "", std::string(1000, 'a')).add("b", '0', "", "b");
    CHECK_THROWS_AS(world.extract(archive, {999, 10}), TarError);
    CHECK_THROWS_AS(world.extract(archive, {10000, 1}), TarError);
    CHECK_THROWS_AS(world.extract(Archive()), TarError);
}
