#include <minions/base/fd.hpp>
#include <minions/base/spawn.hpp>
#include <minions/base/tar.hpp>

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

using namespace minions;
namespace fs = std::filesystem;

namespace {

struct Folder {
    Folder() {
        std::string name = (fs::temp_directory_path() / "minions-tar-XXXXXX").string();
        path = ::mkdtemp(name.data());
        fd.reset(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    }
    ~Folder() { fs::remove_all(path); }
    void write(const std::string& name, const std::string& text) const { std::ofstream(path / name) << text; }
    fs::path path;
    Fd fd;
};

TarReader reader(std::string archive, TarLimits limits = {}) {
    return TarReader(
        [archive = std::move(archive), at = std::size_t{0}](char* data, std::size_t size) mutable {
            const std::size_t got = std::min<std::size_t>({size, archive.size() - at, 100});
            archive.copy(data, got, at);
            at += got;
            return got;
        },
        limits);
}

/// "name type contents-or-link" for each entry.
std::vector<std::string> list(const std::string& archive, TarLimits limits = {}) {
    TarReader tar = reader(archive, limits);
    std::vector<std::string> result;
    while (const auto entry = tar.next()) {
        std::string text;
        char buffer[64];
        while (const std::size_t got = tar.read(buffer, sizeof buffer)) text.append(buffer, got);
        result.push_back(entry->name + " " + "fdsh"[static_cast<int>(entry->type)] + " " + text +
                         entry->link);
    }
    return result;
}

std::string pack(const std::function<void(TarWriter&)>& add, TarLimits limits = {}) {
    std::string archive;
    TarWriter tar([&](std::string_view piece) { archive += piece; }, limits);
    add(tar);
    tar.finish();
    return archive;
}

}  // namespace

TEST_CASE("a tree is packed in order, links as links, without what is excluded or special") {
    const Folder folder;
    fs::create_directories(folder.path / "b/.git/objects");
    folder.write("b/file", "text");
    folder.write("a", "first");
    folder.write("Dockerfile", "theirs");
    folder.write("b/Dockerfile", "kept");
    fs::create_symlink("/etc/passwd", folder.path / "c");
    REQUIRE(::mkfifo((folder.path / "fifo").c_str(), 0600) == 0);
    const auto add = [&](TarWriter& tar) {
        tar.add_file("Dockerfile", "ours");
        tar.add_tree(folder.fd.get(), {{".git", "/Dockerfile"}, 1000});
    };
    const std::string archive = pack(add);
    CHECK(pack(add) == archive);
    CHECK(archive.size() % 512 == 0);
    fs::remove(folder.path / "c");
    CHECK(list(pack(add)) == std::vector<std::string>{"Dockerfile f ours", "a f first", "b d ",
                                                      "b/Dockerfile f kept", "b/file f text"});
    CHECK_THROWS_WITH(list(archive), Catch::Contains("the archive's link 'c' leads outside"));
}

TEST_CASE("tar programs read what is written, long names too") {
    const Folder folder;
    const std::string name = std::string(90, 'd') + "/" + std::string(95, 'n');
    const std::string archive = pack([&](TarWriter& tar) {
        tar.add_directory(std::string(90, 'd'));
        tar.add_file(name, std::string(1000, 'x'), 0640);
        tar.add_symlink("link", std::string(150, 'l'));
    });
    CHECK(list(archive)[1] == name + " f " + std::string(1000, 'x'));
    CHECK(list(archive)[2] == "link s " + std::string(150, 'l'));
    folder.write("archive", archive);
    for (const char* format : {"--format=gnu", "--format=pax", "--format=ustar"}) {
        SpawnOptions options;
        options.cwd = folder.path;
        options.argv = {"sh", "-c",
                        std::string("rm -rf x && mkdir x && tar -C x -xf archive && tar ") + format +
                            " -C x -cf again " + std::string(90, 'd')};
        const RunResult result = run(std::move(options), {});
        INFO(result.err);
        REQUIRE(result.success());
        std::ifstream again(folder.path / "again", std::ios::binary);
        const std::string text((std::istreambuf_iterator<char>(again)), {});
        CHECK(list(text)[1] == name + " f " + std::string(1000, 'x'));
    }
}

TEST_CASE("hostile and damaged archives are refused") {
    const auto refused = [](const std::string& archive, const std::string& why) {
        CHECK_THROWS_WITH(list(archive), Catch::Contains(why));
    };
    for (const char* name : {"/etc/passwd", "../x", "a/../../x", "a/..", ".."}) {
        refused(pack([&](TarWriter& tar) { tar.add_file(name, "x"); }), "leads outside");
    }
    refused(pack([](TarWriter& tar) { tar.add_file("../" + std::string(200, 'x'), "x"); }), "leads outside");
    refused(pack([](TarWriter& tar) { tar.add_symlink("a/b", "../../x"); }), "leads outside");
    refused(pack([](TarWriter& tar) { tar.add_symlink("a", "/x"); }), "leads outside");
    CHECK(list(pack([](TarWriter& tar) { tar.add_symlink("a/b", "../x"); })).size() == 1);

    std::string archive = pack([](TarWriter& tar) { tar.add_file("file", "text"); });
    refused(archive.substr(0, 700), "truncated");
    refused(archive.substr(0, 1024), "truncated");
    refused("", "truncated");
    archive[0] = 'g';
    refused(archive, "checksum");
    CHECK_THROWS_AS(list(std::string(512, 'x')), TarError);
}

TEST_CASE("limits hold for writing and reading") {
    const auto two = [](TarWriter& tar) {
        tar.add_file("a", "12345");
        tar.add_file("b", "12345");
    };
    CHECK(list(pack(two, {10, 2}), {10, 2}).size() == 2);
    CHECK_THROWS_WITH(pack(two, {9, 2}), Catch::Contains("more bytes"));
    CHECK_THROWS_WITH(pack(two, {10, 1}), Catch::Contains("more entries"));
    CHECK_THROWS_WITH(list(pack(two), {9, 2}), Catch::Contains("more bytes"));
    CHECK_THROWS_WITH(list(pack(two), {10, 1}), Catch::Contains("more entries"));
}
