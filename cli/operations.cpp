#include "cli/operations.hpp"

#include "cli/output.hpp"

#include <fmt/format.h>

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <ostream>
#include <thread>

namespace minions::cli {
namespace {

constexpr std::size_t bar_width = 20;

/// Keeps one line of a terminal up to date, and takes it away at the end.
class Bar {
  public:
    explicit Bar(std::ostream& out) : out_(out) {}
    ~Bar() {
        if (!last_.empty()) out_ << "\r\x1b[K" << std::flush;
    }
    Bar(const Bar&) = delete;
    Bar& operator=(const Bar&) = delete;

    void show(const Value& operation) {
        winsize size{};
        const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20;
        const std::string line = progress_line(operation, known ? size.ws_col - 1U : 79U);
        if (line == last_) return;
        out_ << "\r\x1b[K" << line << std::flush;
        last_ = line;
    }

  private:
    std::ostream& out_;
    std::string last_;
};

std::string amount(std::int64_t value) {
    constexpr std::int64_t mib = std::int64_t{1} << 20;
    return value >= mib ? fmt::format("{} MiB", value / mib) : std::to_string(value);
}

}  // namespace

std::string progress_line(const Value& operation, std::size_t width) {
    const auto& progress = operation["progress"];
    std::string line = printable(operation["stage"].string_or("waiting"));
    const auto done = progress["done"].int_or(-1);
    const auto total = progress["total"].int_or(0);
    if (done >= 0 && total > 0) {
        const auto full =
            bar_width * static_cast<std::size_t>(std::min(done, total)) / static_cast<std::size_t>(total);
        line += fmt::format("  [{}{}]  {}/{}", std::string(full, '#'), std::string(bar_width - full, '-'),
                            amount(done), amount(total));
    } else if (done >= 0) {
        line += fmt::format("  {}", amount(done));
    }
    const auto message = progress["message"].string_or("");
    if (!message.empty()) line += "  " + printable(message);
    if (line.size() > width) line.resize(width);
    return line;
}

Value wait_for_end(Session& session, const std::string& operation, ProgressShown shown) {
    const auto target = fmt::format("/api/operations/{}", encode_segment(operation));
    std::optional<Bar> bar;
    if (shown == ProgressShown::on_terminal && ::isatty(STDERR_FILENO) == 1) bar.emplace(session.console.err);
    auto pause = std::chrono::milliseconds(20);
    for (;;) {
        const auto row = session.call("GET", target);
        if (row["status"].string_or("") != "running") return row;
        if (bar) bar->show(row);
        std::this_thread::sleep_for(pause);
        pause = std::min(pause * 2, std::chrono::milliseconds(bar ? 250 : 1000));
    }
}

Value wait_for_operation(Session& session, const Value& accepted, ProgressShown shown) {
    const auto row = wait_for_end(session, accepted["id"].string_or(""), shown);
    if (row["status"].string_or("") == "succeeded") return row["result"];
    if (row["error"].is_null())
        throw Error(Code::failed, fmt::format("the operation was {}", row["status"].string_or("lost")));
    throw decode_error(row["error"]);
}

}  // namespace minions::cli
