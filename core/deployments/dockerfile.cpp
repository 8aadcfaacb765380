#include "core/deployments/dockerfile.hpp"

#include "core/deployments/request.hpp"

#include <minions/base/fd.hpp>
#include <minions/base/files.hpp>
#include <minions/error.hpp>
#include <minions/types.hpp>

#include <fmt/format.h>

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <system_error>

namespace minions::core {
namespace {

constexpr std::size_t max_file_bytes = 1U << 20U;

// Any answer below 500 is healthy, redirects included; anything else, no answer too, ends with 1.
constexpr std::string_view health_script =
    "import http.client,sys;c=http.client.HTTPConnection('127.0.0.1',int(sys.argv[1]),timeout=2.5);"
    "c.request('GET',sys.argv[2]);sys.exit(c.getresponse().status>=500)";

// Installs what pyproject.toml lists, so that a commit that changes sources alone finds this layer in the
// cache. What it cannot tell (no tomllib before Python 3.11, dependencies computed by the build) comes with
// the package.
constexpr std::string_view dependencies_script =
    "import subprocess,sys\n"
    "try: import tomllib\n"
    "except ImportError: sys.exit()\n"
    "project=tomllib.load(open('pyproject.toml','rb')).get('project',{})\n"
    "wanted=[d for d in project.get('dependencies',[]) if '@' not in d and not d.startswith('-')]\n"
    "sys.exit(subprocess.call([sys.executable,'-m','pip','install',*sys.argv[1:],'--',*wanted]) if wanted "
    "else 0)";

bool is_alnum(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

bool only(std::string_view text, std::string_view punctuation) {
    return std::all_of(text.begin(), text.end(),
                       [&](char c) { return is_alnum(c) || punctuation.find(c) != std::string_view::npos; });
}

/// The contents of a file below the tree; nothing if there is none. Throws Error{failed} for what is there
/// and cannot be used: what depends on it would otherwise break with no reason in sight.
std::optional<std::string> read_below(const std::filesystem::path& tree, const std::string& name) {
    try {
        const Fd root(::open(tree.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
        if (!root) throw error_from_errno(errno, "cannot open the clone");
        const Fd file = open_beneath(root.get(), name, O_RDONLY | O_NONBLOCK | O_NOCTTY);
        struct stat info {};
        if (::fstat(file.get(), &info) == 0 && S_ISREG(info.st_mode)) {
            return read_file(file.get(), max_file_bytes);
        }
    } catch (const std::system_error& error) {
        if (error.code().value() == ENOENT) return std::nullopt;
    }
    throw Error(Code::failed, fmt::format("the repository's '{}' is no regular file of at most 1 MiB", name),
                "links are not followed: put the file itself into the repository");
}

bool is_regular_below(const std::filesystem::path& tree, const std::string& name) {
    try {
        const Fd root(::open(tree.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
        if (!root) return false;
        const Fd file = open_beneath(root.get(), name, O_PATH);
        struct stat info {};
        return ::fstat(file.get(), &info) == 0 && S_ISREG(info.st_mode);
    } catch (const std::system_error&) {
        return false;
    }
}

std::string_view trim(std::string_view text) {
    constexpr std::string_view blank = " \t\r\f\v";
    const auto first = text.find_first_not_of(blank);
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(blank) - first + 1);
}

template <class Fn>
void each_line(std::string_view text, Fn&& fn) {
    while (!text.empty()) {
        const auto end = text.find('\n');
        fn(trim(text.substr(0, end)));
        if (end == std::string_view::npos) return;
        text.remove_prefix(end + 1);
    }
}

/// Whether a line of requirements.txt names something in the repository rather than in an index.
bool names_a_path(std::string_view line) {
    const auto word = line.substr(0, line.find_first_of(" ;["));
    if (line.find("file:") != std::string_view::npos) return true;
    if (line.find("://") != std::string_view::npos) return false;
    return word.starts_with('.') || word.find('/') != std::string_view::npos || word.ends_with(".whl") ||
           word.ends_with(".tar.gz") || word.ends_with(".zip");
}

/// Options that take nothing from the repository.
bool is_harmless_option(std::string_view line) {
    constexpr std::string_view harmless[] = {
        "--index-url",   "--extra-index-url", "--trusted-host",   "--pre",      "--no-binary",
        "--only-binary", "--prefer-binary",   "--require-hashes", "--no-index", "-i "};
    return std::any_of(std::begin(harmless), std::end(harmless),
                       [&](std::string_view option) { return line.starts_with(option); });
}

void read_requirement(std::string_view line, const std::filesystem::path& tree, PythonProject& project) {
    if (line.empty() || line.front() == '#') return;
    if (line.back() == '\\') {
        project.requirements_need_all = true;
        return;
    }
    if (line.front() == '-') {
        if (!is_harmless_option(line)) project.requirements_need_all = true;
        return;
    }
    if (!names_a_path(line)) return;
    std::string name(line.substr(0, line.find_first_of(" ;[#")));
    if (name.starts_with("./")) name.erase(0, 2);
    const bool plain = !name.empty() && only(name, "._+-/") && is_alnum(name.front()) &&
                       name.find("..") == std::string::npos && name.size() <= 255;
    if (plain && is_regular_below(tree, name)) {
        project.requirement_files.push_back(std::move(name));
    } else {
        project.requirements_need_all = true;
    }
}

/// A Dockerfile's exec form: a JSON array, which expands nothing.
std::string exec_form(const std::vector<std::string_view>& words) {
    Value array = Value::array();
    for (const auto word : words) array.push(word);
    return to_json(array);
}

std::string from_line(const DockerfileValues& values) {
    std::string image = values.python_image;
    constexpr std::string_view hole = "{version}";
    for (auto at = image.find(hole); at != std::string::npos; at = image.find(hole)) {
        image.replace(at, hole.size(), values.python_version);
    }
    return "FROM " + image + "\n";
}

std::vector<std::string_view> pip_options(const DockerfileValues& values) {
    std::vector<std::string_view> options = {"--no-cache-dir"};
    if (!values.pip_index_url.empty()) {
        const std::string_view url = values.pip_index_url;
        options.insert(options.end(), {"--index-url", url});
        if (constexpr std::string_view http = "http://"; url.starts_with(http)) {
            // pip ignores an index without TLS unless it is told otherwise.
            const auto host = url.substr(http.size());
            options.insert(options.end(), {"--trusted-host", host.substr(0, host.find_first_of(":/"))});
        }
    }
    return options;
}

std::string pip_line(const std::vector<std::string_view>& options,
                     const std::vector<std::string_view>& what) {
    std::vector<std::string_view> words = {"python", "-m", "pip", "install"};
    words.insert(words.end(), options.begin(), options.end());
    words.insert(words.end(), what.begin(), what.end());
    return "RUN " + exec_form(words) + "\n";
}

std::string requirement_lines(const PythonProject& project, const std::vector<std::string_view>& options) {
    std::string text = "COPY " + exec_form({"requirements.txt", "./"}) + "\n";
    for (const auto& file : project.requirement_files) {
        text += "COPY " + exec_form({file, "./" + file}) + "\n";
    }
    return text + pip_line(options, {"-r", "requirements.txt"});
}

std::string dependency_lines(const std::vector<std::string_view>& options) {
    std::vector<std::string_view> words = {"python", "-c", dependencies_script};
    words.insert(words.end(), options.begin(), options.end());
    return "COPY " + exec_form({"pyproject.toml", "./"}) + "\nRUN " + exec_form(words) + "\n";
}

void check_values(const DockerfileValues& values) {
    check_python_image(values.python_image);
    if (!values.pip_index_url.empty()) check_pip_index_url(values.pip_index_url);
    check_python_version(values.python_version);
    check_health_path(values.health_path, "health_path");
    if (values.installation.empty() || !only(values.installation, "-_.")) {
        throw Error(Code::invalid, "the installation's id is not safe to write into a Dockerfile");
    }
    if (values.expose_port < 1 || values.expose_port > 65535) {
        throw Error(Code::invalid, "field 'expose_port' must be a number from 1 to 65535");
    }
}

}  // namespace

PythonProject inspect_project(const std::filesystem::path& tree) {
    PythonProject project;
    if (const auto text = read_below(tree, "requirements.txt")) {
        project.requirements = true;
        each_line(*text, [&](std::string_view line) { read_requirement(line, tree, project); });
    }
    if (const auto text = read_below(tree, "pyproject.toml")) {
        each_line(*text, [&](std::string_view line) {
            project.project = project.project || line.starts_with("[project]") ||
                              line.starts_with("[build-system]") || line.starts_with("[tool.poetry]");
        });
    }
    return project;
}

std::string generate_dockerfile(const PythonProject& project, const DockerfileValues& values) {
    check_values(values);
    const auto options = pip_options(values);
    std::string text = from_line(values);
    text += fmt::format("LABEL {}={}\n", installation_label, values.installation);
    text += "ENV PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore\n";
    text += "WORKDIR /app\n";
    const bool early = project.requirements && !project.requirements_need_all;
    if (early) text += requirement_lines(project, options);
    if (project.project) text += dependency_lines(options);
    text += "COPY " + exec_form({".", "."}) + "\n";
    if (project.requirements && !early) text += pip_line(options, {"-r", "requirements.txt"});
    if (project.project) text += pip_line(options, {"."});
    const auto port = std::to_string(values.expose_port);
    text += "EXPOSE " + port + "\n";
    text += "HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 CMD " +
            exec_form({"python", "-c", health_script, port, values.health_path}) + "\n";
    return text;
}

void check_pip_index_url(std::string_view url) {
    const auto scheme = url.find("://");
    const bool known = url.starts_with("https://") || url.starts_with("http://");
    if (!known || url.size() > 1024 || url.size() == scheme + 3 || !only(url, ":/._~%+=&?,-")) {
        throw Error(Code::invalid, "setting 'deployments.pip_index_url' must be an http or https address",
                    "credentials do not belong in it: it can be read in every image");
    }
}

void check_python_image(std::string_view image) {
    std::string name(image);
    if (const auto hole = name.find("{version}"); hole != std::string::npos) name.replace(hole, 9, "3");
    if (name.empty() || name.size() > 512 || !is_alnum(name.front()) || !only(name, ":/._@-")) {
        throw Error(Code::invalid, "setting 'deployments.python_image' must be the name of an image",
                    "{version} in it becomes the request's python_version");
    }
}

void check_own_dockerfile(const std::filesystem::path& tree) {
    const auto text = read_below(tree, "Dockerfile");
    if (!text) {
        throw Error(Code::failed, "the repository has no file 'Dockerfile' at its root",
                    "add one, or leave 'dockerfile' out of the request to have one generated");
    }
    // Stricter than the builder, which looks at the comments before the first instruction only.
    each_line(*text, [](std::string_view line) {
        if (line.starts_with("\xef\xbb\xbf")) line.remove_prefix(3);
        if (line.empty() || (line.front() != '#' && !line.starts_with("//"))) return;
        std::string directive;
        for (const char c : line.substr(1)) {
            if (c == ' ' || c == '\t' || c == '/') continue;
            if (c == '=' || c == ':') break;
            directive += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
        }
        const bool assigns =
            line.find('=') != std::string_view::npos || line.find(':') != std::string_view::npos;
        if (directive == "syntax" && assigns) {
            throw Error(Code::failed, "the repository's Dockerfile asks for another builder by '# syntax='",
                        "remove that line");
        }
    });
}

}  // namespace minions::core
