# cmake -DOUTPUT=FILE.cpp -DHEADER=INCLUDE -DNAMESPACE=NAME -DFILES=a;b -P embed.cmake
# Writes a C++ source that defines a std::string_view for each file, with the file's bytes: dashboard.js is
# kDashboardJs.
set(text "#include \"${HEADER}\"\n\nnamespace ${NAMESPACE} {\n\nnamespace {\n")
set(views "")
foreach(file ${FILES})
  get_filename_component(name ${file} NAME)
  set(constant "k")
  string(REGEX MATCHALL "[A-Za-z0-9]+" words ${name})
  foreach(word ${words})
    string(SUBSTRING ${word} 0 1 first)
    string(SUBSTRING ${word} 1 -1 rest)
    string(TOUPPER ${first} first)
    string(APPEND constant "${first}${rest}")
  endforeach()
  file(READ ${file} bytes HEX)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
  string(REGEX REPLACE "(0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,)" "\\1\n"
         bytes "${bytes}")
  string(APPEND text "constexpr unsigned char ${constant}Bytes[] = {\n${bytes}};\n")
  string(APPEND views "extern const std::string_view ${constant};\n"
                      "const std::string_view ${constant}(reinterpret_cast<const char*>(${constant}Bytes), "
                      "sizeof ${constant}Bytes);\n")
endforeach()
file(WRITE ${OUTPUT} "${text}}\n\n${views}\n}  // namespace ${NAMESPACE}\n")
