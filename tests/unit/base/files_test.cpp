#include <minions/base/files.hpp>

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <sys/stat.h>

#include <filesystem>
#include <functional>
#include <system_error>

using namespace minions;
namespace fs = std::filesystem;

namespace {

struct Folder {
    Folder() {
        std::string name = (fs::temp_directory_path() / "minions-files-XXXXXX").string();
        path = ::mkdtemp(name.data());
        fd.reset(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    }
    ~Folder() { fs::remove_all(path); }
    fs::path path;
    Fd fd;
};

int error_of(const std::function<void()>& action) {
    try {
        action();
    } catch (const std::system_error& error) {
        return error.code().value();
    }
    return 0;
}

}  // namespace

TEST_CASE("a file is replaced as a whole, with its exact mode") {
    const Folder folder;
    const std::string path = folder.path / "file";
    const mode_t old = ::umask(077);
    write_file_atomic(path, "first", 0600);
    write_file_atomic(path, "second", 0644);
    ::umask(old);
    CHECK(read_file(path, 100) == "second");
    struct stat info {};
    REQUIRE(::stat(path.c_str(), &info) == 0);
    CHECK((info.st_mode & 07777) == 0644);
    CHECK(std::distance(fs::directory_iterator(folder.path), {}) == 1);  // nothing temporary is left

    fs::create_directory(folder.path / "dir");
    CHECK(error_of([&] { write_file_atomic(folder.path / "dir", "x", 0600); }) == EISDIR);
    CHECK(std::distance(fs::directory_iterator(folder.path), {}) == 2);
}

TEST_CASE("reading is bounded") {
    const Folder folder;
    write_file_atomic(folder.path / "file", "12345", 0600);
    CHECK(read_file(folder.path / "file", 5) == "12345");
    CHECK(error_of([&] { read_file(folder.path / "file", 4); }) == EFBIG);
    CHECK(error_of([&] { read_file(folder.path / "absent", 4); }) == ENOENT);
}

TEST_CASE("open_in_root follows links as a system with that root would") {
    const Folder folder;
    fs::create_directories(folder.path / "usr" / "bin");
    write_file_atomic(folder.path / "usr" / "bin" / "file", "x", 0600);
    fs::create_symlink("/usr/bin", folder.path / "absolute");
    fs::create_symlink("../../../usr/bin", folder.path / "upward");
    fs::create_symlink("/etc", folder.path / "out");  // is there, but not in here
    for (const char* path : {"absolute/file", "upward/file", "/usr/bin/file", "../../usr/bin/file"})
        CHECK(read_file(open_in_root(folder.fd.get(), path, O_RDONLY).get(), 10) == "x");
    CHECK(error_of([&] { open_in_root(folder.fd.get(), "out/passwd", O_RDONLY); }) == ENOENT);
}

TEST_CASE("open_beneath follows no link and stays below") {
    const Folder folder;
    fs::create_directories(folder.path / "a/b");
    write_file_atomic(folder.path / "a/b/file", "x", 0600);
    fs::create_directory_symlink("a", folder.path / "link");
    fs::create_symlink("/etc/passwd", folder.path / "a/passwd");
    CHECK(read_file(open_beneath(folder.fd.get(), "a/b/file", O_RDONLY).get(), 10) == "x");
    CHECK(error_of([&] { open_beneath(folder.fd.get(), "link/b/file", O_RDONLY); }) == ELOOP);
    CHECK(error_of([&] { open_beneath(folder.fd.get(), "a/passwd", O_RDONLY); }) == ELOOP);
    CHECK(error_of([&] { open_beneath(folder.fd.get(), "a/../../x", O_RDONLY); }) == EXDEV);
    CHECK(error_of([&] { open_beneath(folder.fd.get(), "/etc/passwd", O_RDONLY); }) == EXDEV);
}

TEST_CASE("remove_tree removes links, not what they lead to") {
    const Folder folder;
    fs::create_directories(folder.path / "kept");
    write_file_atomic(folder.path / "kept/file", "x", 0600);
    fs::create_directories(folder.path / "tree/a/b/c");
    fs::create_directory_symlink("../kept", folder.path / "tree/link");
    fs::create_symlink("../../kept/file", folder.path / "tree/a/link");
    write_file_atomic(folder.path / "tree/a/b/file", "x", 0600);
    remove_tree(folder.fd.get(), "tree");
    CHECK_FALSE(fs::exists(folder.path / "tree"));
    CHECK(fs::exists(folder.path / "kept/file"));
    remove_tree(folder.fd.get(), "tree");  // absent: no error

    fs::create_directory_symlink("kept", folder.path / "link");
    remove_tree(folder.fd.get(), "link");
    CHECK(fs::exists(folder.path / "kept/file"));
    CHECK(error_of([&] { remove_tree(folder.fd.get(), ".."); }) == EINVAL);
    CHECK(error_of([&] { remove_tree(folder.fd.get(), "kept/file"); }) == EINVAL);
}
