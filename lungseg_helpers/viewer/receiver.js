// A field that takes one file and sends it piece by piece, each after the last one's receipt. What is too large is
// refused here, before a byte is read; the kernel counts again. One that comes while another is at work waits for it.
function render({ model, el }) {
  el.innerHTML = `<label class="lungseg-drop" tabindex="0">
      <input type="file" accept=".nii,.gz,.nrrd,.mha,.zip" style="position:absolute;opacity:0;width:1px" />
      <span></span></label>
    <progress max="1" value="0" style="width:100%;display:none"></progress>`;
  const field = el.querySelector("label"), input = el.querySelector("input");
  const words = el.querySelector("span"), bar = el.querySelector("progress");
  Object.assign(field.style, {
    display: "block", padding: "1.2em", textAlign: "center", cursor: "pointer", borderRadius: "6px",
    border: "2px dashed var(--jp-border-color1, gray)", color: "var(--jp-ui-font-color1, inherit)",
    font: "var(--jp-ui-font-size1, 14px) var(--jp-ui-font-family, sans-serif)",
  });
  const say = () => { words.textContent = model.get("invitation"); };
  let sending = null, waiting = null;

  function lock() {
    input.disabled = model.get("busy");
    field.style.opacity = input.disabled ? 0.5 : 1;
    begin(waiting);
  }

  function begin(file) {
    waiting = model.get("busy") || sending ? file : null;
    if (!file || waiting) return;
    if (file.size > model.get("limit")) {
      model.send({ kind: "refused", name: file.name, size: file.size });
      return;
    }
    sending = { file, at: 0 };
    bar.style.display = "block";
    model.send({ kind: "begin", name: file.name, size: file.size });
  }

  async function next() {
    const { file, at } = sending;
    if (at >= file.size) {
      sending = null;
      bar.style.display = "none";
      model.send({ kind: "end" });
      return;
    }
    let piece;
    try {
      piece = await file.slice(at, at + model.get("piece")).arrayBuffer();
    } catch (error) {  // the file was moved or changed while it was read
      stop();
      model.send({ kind: "broken" });
      return;
    }
    sending.at = at + piece.byteLength;
    bar.value = sending.at / file.size;
    model.send({ kind: "piece" }, undefined, [piece]);
  }

  function stop() {
    sending = null;
    bar.style.display = "none";
    begin(waiting);
  }

  input.addEventListener("change", () => { begin(input.files[0] ?? waiting); input.value = ""; });
  field.addEventListener("keydown", (event) => { if (event.key === "Enter") input.click(); });
  field.addEventListener("dragover", (event) => event.preventDefault());
  field.addEventListener("drop", (event) => { event.preventDefault(); begin(event.dataTransfer.files[0] ?? waiting); });
  const answer = (content) => { if (sending) content.kind === "more" ? next() : stop(); };
  model.on("msg:custom", answer);
  model.on("change:invitation", say);
  model.on("change:busy", lock);
  say();
  lock();
  return () => {
    model.off("msg:custom", answer);
    model.off("change:invitation", say);
    model.off("change:busy", lock);
  };
}
export default { render };
