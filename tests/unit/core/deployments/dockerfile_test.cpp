#include "core/deployments/dockerfile.hpp"

#include "core/deployments/context.hpp"
#include "tests/unit/core/deployments/support.hpp"

#include <minions/base/tar.hpp>

#include <catch2/catch.hpp>
#include <unistd.h>

using namespace minions;
using namespace minions::core;
using namespace minions::core::test;

namespace {

DockerfileValues values() { return {"python:{version}-slim", "3.11", "", 8080, "/health", "here"}; }

std::size_t at(const std::string& text, const std::string& part) {
    const auto found = text.find(part);
    CAPTURE(text, part);
    REQUIRE(found != std::string::npos);
    return found;
}

std::size_t count_lines(const std::string& text, const std::string& instruction) {
    std::size_t count = 0;
    for (std::size_t line = 0; line != std::string::npos && line < text.size();) {
        if (text.compare(line, instruction.size(), instruction) == 0) ++count;
        line = text.find('\n', line);
        if (line != std::string::npos) ++line;
    }
    return count;
}

}  // namespace

TEST_CASE("a repository of sources alone installs nothing") {
    const auto text = generate_dockerfile({}, values());
    // The label comes first: a build that is cut off leaves layers that all have it.
    CHECK(text.starts_with("FROM python:3.11-slim\nLABEL minions.installation=here\n"));
    CHECK(text.find("RUN") == std::string::npos);
    CHECK(text.find("CMD [\"python\",\"-c\"") != std::string::npos);
    CHECK(text.find("EXPOSE 8080\n") != std::string::npos);
    CHECK(at(text, "COPY [\".\",\".\"]") < at(text, "HEALTHCHECK"));
}

TEST_CASE("requirements are installed before the sources are copied, with the wheels that they name") {
    const Directory directory;
    write(directory / "requirements.txt",
          "requests==2.0 # comment\n./wheels/greeting-1.0-py3-none-any.whl\n");
    write(directory / "wheels/greeting-1.0-py3-none-any.whl", "x");
    const auto project = inspect_project(directory.path());
    CHECK(project.requirements);
    CHECK_FALSE(project.requirements_need_all);
    const auto text = generate_dockerfile(project, values());
    CHECK(at(text, "COPY [\"requirements.txt\"") <
          at(text, "COPY [\"wheels/greeting-1.0-py3-none-any.whl\""));
    CHECK(at(text, "COPY [\"wheels/greeting-1.0-py3-none-any.whl\"") <
          at(text, "\"-r\",\"requirements.txt\""));
    CHECK(at(text, "\"-r\",\"requirements.txt\"") < at(text, "COPY [\".\",\".\"]"));
}

TEST_CASE("requirements that need more of the repository are installed after it is copied") {
    const auto line =
        GENERATE(as<std::string>(), "./slow", "-r other.txt", "-e .", "--find-links wheels", "./absent.whl",
                 "../outside.whl", "./a b.whl", "./$(id).whl", "x @ file:///app/x.whl", "requests \\");
    CAPTURE(line);
    const Directory directory;
    write(directory / "requirements.txt", line + "\n");
    write(directory / "slow/setup.py", "");
    const auto project = inspect_project(directory.path());
    CHECK(project.requirements_need_all);
    CHECK(project.requirement_files.empty());
    const auto text = generate_dockerfile(project, values());
    CHECK(at(text, "COPY [\".\",\".\"]") < at(text, "\"-r\",\"requirements.txt\""));
}

TEST_CASE("a project file is installed if it describes a package") {
    const Directory directory;
    write(directory / "pyproject.toml", "[tool.ruff]\nline-length = 100\n");
    CHECK_FALSE(inspect_project(directory.path()).project);
    write(directory / "pyproject.toml", "[build-system]\nrequires = []\n[project]\nname = 'x'\n");
    const auto text = generate_dockerfile(inspect_project(directory.path()), values());
    CHECK(at(text, "COPY [\"pyproject.toml\"") < at(text, "COPY [\".\",\".\"]"));
    CHECK(at(text, "COPY [\".\",\".\"]") < at(text, "\"install\",\"--no-cache-dir\",\".\"]"));
}

TEST_CASE("links in a repository are not followed") {
    const Directory directory;
    write(directory / "outside", "./x.whl\n");
    std::filesystem::create_directories(directory / "tree");
    std::filesystem::create_symlink(directory / "outside", directory / "tree/requirements.txt");
    std::filesystem::create_symlink(directory / "outside", directory / "tree/Dockerfile");
    const Error requirements = error_of([&] { inspect_project(directory / "tree"); });
    CHECK(requirements.code() == Code::failed);
    CHECK(requirements.message().find("'requirements.txt'") != std::string::npos);
    CHECK(error_of([&] { check_own_dockerfile(directory / "tree"); }).code() == Code::failed);
}

TEST_CASE("dependencies that cannot be read are told and not left out") {
    const Directory directory;
    const auto name = GENERATE(as<std::string>(), "requirements.txt", "pyproject.toml");
    write(directory / name, std::string((1 << 20) + 1, '#'));
    const Error error = error_of([&] { inspect_project(directory.path()); });
    CHECK(error.code() == Code::failed);
    CHECK(error.message().find(name) != std::string::npos);
}

TEST_CASE("a line of requirements.txt that names nothing is pip's to refuse") {
    const Directory directory;
    write(directory / "requirements.txt", "[x\n;x\n ; python_version > '3'\n");
    const auto project = inspect_project(directory.path());
    CHECK(project.requirements);
    CHECK_FALSE(project.requirements_need_all);
    CHECK(project.requirement_files.empty());
}

TEST_CASE("the index of packages goes to pip as one word") {
    auto with_index = values();
    with_index.pip_index_url = "http://index.example:8000/simple";
    PythonProject project;
    project.requirements = true;
    const auto text = generate_dockerfile(project, with_index);
    CHECK(text.find(R"("--index-url","http://index.example:8000/simple","--trusted-host","index.example")") !=
          std::string::npos);
    for (const char* bad : {"https://user:pw@index/simple", "https://x/\nRUN id", "ftp://x/y", "https://",
                            "x", "https://x/ y", "https://x/$(id)", "https://x/\"y"}) {
        CAPTURE(bad);
        with_index.pip_index_url = bad;
        CHECK(error_of([&] { generate_dockerfile(project, with_index); }).code() == Code::invalid);
    }
}

TEST_CASE("no value adds an instruction") {
    const PythonProject project{true, {"a.whl"}, false, true};
    const auto plain = generate_dockerfile(project, values());
    SECTION("values that are refused") {
        auto bad = values();
        switch (GENERATE(0, 1, 2, 3, 4, 5)) {
            case 0:
                bad.python_version = "3.11\nRUN touch /x";
                break;
            case 1:
                bad.health_path = "/x\nRUN touch /x";
                break;
            case 2:
                bad.expose_port = 70000;
                break;
            case 3:
                bad.python_image = "python\nRUN touch /x";
                break;
            case 4:
                bad.python_image = "--platform=x python";
                break;
            case 5:
                bad.installation = "x\nRUN touch /x";
                break;
        }
        CHECK(error_of([&] { generate_dockerfile(project, bad); }).code() == Code::invalid);
    }
    SECTION("values that stay words") {
        auto odd = values();
        odd.health_path = "/h?a=\"],[\"x&b=$(id)${PATH}`id`';import/os";
        const auto text = generate_dockerfile(project, odd);
        for (const char* instruction : {"FROM", "RUN", "COPY", "HEALTHCHECK", "ENV", "EXPOSE", "WORKDIR"}) {
            CHECK(count_lines(text, instruction) == count_lines(plain, instruction));
        }
        const auto line = text.substr(text.find("CMD [") + 4);
        const auto words = parse_json(line.substr(0, line.find('\n')));
        CHECK((*words.if_array())[4] == Value(odd.health_path));
    }
}

TEST_CASE("a repository's own Dockerfile may not name another builder") {
    const auto line = GENERATE(as<std::string>(), "# syntax=evil/frontend", "#syntax=evil",
                               "#  SYNTAX = evil", "\t# syntax=evil", "\xef\xbb\xbf# syntax=evil",
                               "// syntax=evil", "# escape=`\n# syntax=evil");
    CAPTURE(line);
    const Directory directory;
    write(directory / "Dockerfile", line + "\nFROM x\n");
    CHECK(error_of([&] { check_own_dockerfile(directory.path()); }).message().find("syntax") !=
          std::string::npos);
}

TEST_CASE("an ordinary Dockerfile of a repository is taken") {
    const Directory directory;
    write(directory / "Dockerfile", "# about the syntax of this file\nFROM x\nRUN echo syntax=1\n");
    CHECK_NOTHROW(check_own_dockerfile(directory.path()));
}

TEST_CASE("a build context is the clone without .git, links as links, with the generated Dockerfile") {
    const Directory directory;
    write(directory / "tree/.git/config", "x");
    write(directory / "tree/.minions.Dockerfile", "of the repository");
    write(directory / "tree/main.py", "print()");
    write(directory / "tree/sub/.git", "kept");
    std::filesystem::create_symlink("/etc/passwd", directory / "tree/link");
    ContextStream context(directory / "tree", "FROM x\n", 1 << 20);
    const Fd reader = context.take_reader();
    TarReader tar([&](char* data, std::size_t size) {
        const auto count = ::read(reader.get(), data, size);
        REQUIRE(count >= 0);
        return static_cast<std::size_t>(count);
    });
    std::map<std::string, std::string> entries;
    try {
        while (const auto entry = tar.next()) {
            std::string text(entry->size, '\0');
            if (entry->type == TarEntry::Type::file && !text.empty()) tar.read(text.data(), text.size());
            entries[entry->name] = entry->type == TarEntry::Type::symlink ? "-> " + entry->link : text;
        }
    } catch (const TarError& error) {
        // The reader refuses links that lead outside; what matters is that it is stored as a link.
        CHECK(std::string(error.what()).find("link") != std::string::npos);
    }
    CHECK(entries.at(".minions.Dockerfile") == "FROM x\n");
    CHECK(entries.count(".git") == 0);
    CHECK(entries.count(".git/config") == 0);
    CHECK(entries.count("link") == 0);
}

TEST_CASE("a context that is too large or whose reader goes away ends") {
    const Directory directory;
    write(directory / "tree/big", std::string(4 << 20, 'x'));
    SECTION("too large") {
        ContextStream context(directory / "tree", std::nullopt, 1 << 20);
        {
            const Fd reader = context.take_reader();
            std::string all(8 << 20, '\0');
            while (::read(reader.get(), all.data(), all.size()) > 0) {
            }
        }
        CHECK(error_of([&] { context.check(); }).code() == Code::failed);
    }
    SECTION("reader gone") {
        ContextStream context(directory / "tree", std::nullopt, 1 << 30);
        context.take_reader().reset();
        CHECK_NOTHROW(context.check());
    }
}
