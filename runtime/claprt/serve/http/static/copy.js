// The request as a command or a program with the same result.

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

export function asCurl({ file, labels, mode, template, threshold, token }, origin) {
  const words = mode === "tag" ? "tags" : "labels";
  const parts = [`curl ${quoted(`${origin}/${mode}`)}`, `--form file=@${quoted(file)}`];
  parts.push(`--form-string ${words}=${quoted(JSON.stringify(labels))}`);
  if (template) parts.push(`--form-string template=${quoted(template)}`);
  if (mode === "tag") parts.push(`--form-string threshold=${threshold}`);
  if (token) parts.push('--header "Authorization: Bearer $CLAPRT_TOKEN"');
  return parts.join(" \\\n  ");
}

export function asPython({ file, labels, mode, template, threshold, model, preprocess }) {
  const given = [JSON.stringify(file), `${mode === "tag" ? "tags" : "labels"}=${JSON.stringify(labels)}`];
  if (template) given.push(`template=${JSON.stringify(template)}`);
  if (mode === "tag") given.push(`threshold=${threshold}`);
  const shown = mode === "tag" ? "result.active_tags" : "result.predicted_class, result.confidence";
  return [
    "import claprt",
    "",
    `model = claprt.load(${JSON.stringify(model)}, preprocess=${JSON.stringify(preprocess)})`,
    `result = claprt.${mode}(${given.join(", ")}, model=model)`,
    `print(${shown})`,
    "",
  ].join("\n");
}
