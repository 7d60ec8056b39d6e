# Rows of a table from the XML report of a GoogleTest program: a test passed, failed (with what it
# said first) or was skipped (with the reason). Exit code 1 if one failed.
function text(s) {
  gsub(/&#x0A;|&#x0a;|&#10;/, " ", s); gsub(/&lt;/, "<", s); gsub(/&gt;/, ">", s)
  gsub(/&quot;/, "\"", s); gsub(/&apos;/, "'", s); gsub(/&amp;/, "\\&", s)
  sub(/^[^ ]*\//, "", s)  # of a source file, its name
  gsub(/[ \t]+/, " ", s); gsub(/\|/, "/", s); gsub(/^ | $/, "", s)
  return length(s) > 240 ? substr(s, 1, 237) "..." : s
}
function without_place(s) {
  sub(/^[^ ]*\.cpp:[0-9]+ /, "", s)
  return s
}
function attribute(name,   at, rest) {
  at = index($0, " " name "=\"")
  if (!at) return ""
  rest = substr($0, at + length(name) + 3)
  return substr(rest, 1, index(rest, "\"") - 1)
}
function row() {
  if (test == "") return
  if (failure != "") { result = "FAILED: " text(failure); failed = 1 }
  else if (state == "skipped") result = "skipped: " (reason == "" ? "no reason given" : without_place(text(reason)))
  else if (state == "completed") result = sprintf("passed, %.1f s", seconds)
  else result = "not run"
  printf "| %-58s | %s |\n", test, result
  test = ""
}
/<testcase / {
  row()
  test = attribute("classname") "." attribute("name")
  state = attribute("result"); seconds = attribute("time")
  failure = reason = ""
}
/<failure / && failure == "" { failure = attribute("message") }
/<skipped / && reason == "" { reason = attribute("message") }
/<\/testsuite>/ { row() }
END { row(); exit failed }
