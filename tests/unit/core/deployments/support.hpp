#pragma once

#include <minions/error.hpp>

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace minions::core::test {

/// A directory of its own that every user may search, removed at the end.
class Directory {
  public:
    Directory();
    ~Directory();
    Directory(const Directory&) = delete;
    Directory& operator=(const Directory&) = delete;
    const std::filesystem::path& path() const { return path_; }
    std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

  private:
    std::filesystem::path path_;
};

void write(const std::filesystem::path& path, const std::string& text, int mode = 0644);
std::string read(const std::filesystem::path& path);

/// Runs a program to its end; its output. Fails the test if it fails.
std::string run_program(std::vector<std::string> argv, const std::filesystem::path& cwd = "/");

/// A bare repository `name`.git below `directory`, with one commit of these files on `branch`; its file://
/// address.
std::string make_repository(const std::filesystem::path& directory, const std::string& name,
                            const std::map<std::string, std::string>& files,
                            const std::string& branch = "main");

/// The Error that `what` throws; fails the test if it throws none.
Error error_of(const std::function<void()>& what);

}  // namespace minions::core::test
