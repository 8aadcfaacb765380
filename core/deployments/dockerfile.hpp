#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace minions::core {

/// What a repository says about its dependencies, as far as the Dockerfile depends on it.
struct PythonProject {
    bool requirements = false;  ///< has a requirements.txt
    /// Files in the repository that requirements.txt names (wheels, archives), each safe to write into a
    /// Dockerfile. They are copied with it.
    std::vector<std::string> requirement_files;
    /// requirements.txt needs more of the repository than single files (a directory, a further requirements
    /// file, a name that is not safe to write): everything is copied before it is installed.
    bool requirements_need_all = false;
    /// pyproject.toml describes a package ([project], [build-system] or [tool.poetry]) rather than the
    /// settings of tools alone.
    bool project = false;
};

/// Looks into a clone, following no link. Throws Error{failed} for a requirements.txt or pyproject.toml that
/// is no regular file of at most 1 MiB.
PythonProject inspect_project(const std::filesystem::path& tree);

/// What goes into a generated Dockerfile beside the project: checked values only.
struct DockerfileValues {
    std::string python_image;  ///< template of the operator's with {version}
    std::string python_version;
    std::string pip_index_url;  ///< empty: pip's default
    int expose_port = 8080;
    std::string health_path = "/health";
    std::string installation;  ///< id of this installation, as a label on every layer
};

/// The Dockerfile of an agent.
///
/// Layers go from what changes rarely to what changes with each commit: base image, requirements with the
/// files they name, the dependencies of pyproject.toml, the sources, the package itself. There is no CMD:
/// startup_cmd is given to the container. The image runs as its base image's user (root in a container of its
/// own), because agents write below /app and their libraries expect an entry in passwd; the runtime decides
/// about rights.
///
/// Every variable part is checked again here, whoever calls: Error{invalid} for a value that is not safe to
/// write.
std::string generate_dockerfile(const PythonProject& project, const DockerfileValues& values);

/// Checks a setting like https://index.example/simple: http or https, no user name, no characters that mean
/// anything in a Dockerfile. Throws Error{invalid}.
void check_pip_index_url(std::string_view url);

/// Checks the setting deployments.python_image. Throws Error{invalid}.
void check_python_image(std::string_view image);

/// Checks that a repository's own Dockerfile can be used: a regular file `Dockerfile` at the root of the
/// clone, of at most 1 MiB, without a directive that makes the engine fetch another builder (`# syntax=`).
/// Throws Error{failed}.
void check_own_dockerfile(const std::filesystem::path& tree);

}  // namespace minions::core
