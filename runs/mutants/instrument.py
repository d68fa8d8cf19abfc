"""instrument.py TREE CRATE LIST.json SKIP.txt : writes all mutants (but those in SKIP) into the sources, switched by MUTANT=id (index in the list)."""
import json, sys, collections
from pathlib import Path
import tree_sitter_rust, tree_sitter as ts
tree, crate, lst, skipfile = sys.argv[1:5]
tree=Path(tree)
P = ts.Parser(ts.Language(tree_sitter_rust.language()))
mutants = json.load(open(lst))
skip = set(int(x) for x in Path(skipfile).read_text().split()) if Path(skipfile).exists() else set()
byfile = collections.defaultdict(list)
for i, m in enumerate(mutants): byfile[m["file"]].append((i+1, m))
inserted = 0
special = []
for file, ms in byfile.items():
    src = (tree/file).read_text()
    lines = src.splitlines(keepends=True)
    starts=[0]
    for l in lines: starts.append(starts[-1]+len(l))
    off = lambda p: starts[p["line"]-1]+p["column"]-1          # char offset
    data = src.encode()
    bo = lambda c: len(src[:c].encode())                         # byte offset
    root = P.parse(data).root_node
    body=collections.defaultdict(list); op=collections.defaultdict(list); ins=collections.defaultdict(list)
    for i,m in ms:
        if i in skip: special.append(i); continue
        s,e = bo(off(m["span"]["start"])), bo(off(m["span"]["end"]))
        g=m["genre"]
        if g=="FnValue":
            body[s].append(f"if crate::__mutants::m({i}) {{ return {m['replacement'].rstrip()}; }} /*@{i}@*/\n" if m["replacement"].strip() not in ("","()") else f"if crate::__mutants::m({i}) {{ return; }} /*@{i}@*/\n")
        elif g in ("BinaryOperator","UnaryOperator"):
            n=root.descendant_for_byte_range(s,e)
            while n.type not in ("binary_expression","compound_assignment_expr","unary_expression"): n=n.parent
            op[(n.start_byte,n.end_byte)].append((i,m,n,s,e))
        elif g=="MatchArm":
            n=root.descendant_for_byte_range(s,e)
            while n.type!="match_arm": n=n.parent
            pat=n.child_by_field_name("pattern")   # match_pattern: pattern [if cond]
            cond=pat.child_by_field_name("condition")
            if cond: op[(cond.start_byte,cond.end_byte)].append((i,m,cond,None,None))
            else: ins[pat.end_byte].append(f" if !crate::__mutants::m({i}) /*@{i}@*/\n")
        elif g=="MatchArmGuard":
            n=root.descendant_for_byte_range(s,e)
            while not (n.start_byte==s and n.end_byte>=e): n=n.parent
            op[(s,e)].append((i,m,n,None,None))
        else: special.append(i)
    nodes=sorted(op)
    def render(a,b):
        """text of data[a:b] with all edits inside"""
        out=[];pos=a
        while pos<b:
            nxt=[k for k in nodes if k[0]>=pos and k[1]<=b and k not in active]
            nb=[k for k in list(body)+list(ins) if pos<=k<b]
            k=min(nxt,key=lambda k:(k[0],-k[1])) if nxt else None
            p=min(nb) if nb else None
            if k is None and p is None: out.append(data[pos:b].decode()); pos=b; break
            if p is not None and (k is None or p<=k[0]):
                out.append(data[pos:p].decode()); out.append("\n"*bool(p in ins) and "" ); 
                out.append("".join(body.pop(p,[]))); out.append("".join(ins.pop(p,[]))); pos=p; continue
            out.append(data[pos:k[0]].decode()); out.append(expr(k)); pos=k[1]
        return "".join(out)
    active=set()
    def expr(k):
        active.add(k)
        es=op[k]
        n=es[0][2]
        arms=[]; ids=[]
        for i,m,n2,s,e in es:
            ids.append(i)
            a=data[k[0]:k[1]].decode()
            if m["genre"]=="MatchArm": t="false"
            elif m["genre"]=="MatchArmGuard": t=m["replacement"]
            elif m["genre"]=="UnaryOperator": t=data[e:k[1]].decode()
            else: t=data[k[0]:s].decode()+m["replacement"]+data[e:k[1]].decode()
            t=t.replace("\n"," ") if "//" not in t else t
            arms.append(f"{i} => {{ {t} }} /*@{i}@*/\n")
        inner=render(k[0],k[1])
        text="(match crate::__mutants::s(&["+",".join(map(str,ids))+"]) { "+"".join(arms)+f"_ => {{ {inner} }} }}) /*@{ids[0]}@*/ "
        return text
    new=render(0,len(data))
    (tree/file).write_text(new)
lib=tree/crate/"src/lib.rs"
t=lib.read_text()
t+='''
#[doc(hidden)] #[allow(missing_docs, clippy::all)]
pub mod __mutants {
    use std::sync::{OnceLock, Mutex};
    use std::io::Write;
    static WHICH: OnceLock<(u32, Option<Mutex<(std::fs::File, Vec<bool>)>>)> = OnceLock::new();
    fn get() -> &'static (u32, Option<Mutex<(std::fs::File, Vec<bool>)>>) {
        WHICH.get_or_init(|| {
            let id = std::env::var("MUTANT").ok().and_then(|v| v.parse().ok()).unwrap_or(0);
            let rec = std::env::var("MUTANT_RECORD").ok().and_then(|p| std::fs::OpenOptions::new().create(true).append(true).open(p).ok());
            (id, rec.map(|f| Mutex::new((f, vec![false; 4096]))))
        })
    }
    fn reach(id: u32) { if let Some(m) = &get().1 { if let Ok(mut g) = m.lock() { if !g.1[id as usize] { g.1[id as usize] = true; let _ = g.0.write_all(format!("{id}\\n").as_bytes()); } } } }
    pub fn m(id: u32) -> bool { let w = get(); if w.1.is_some() { reach(id); } w.0 == id }
    pub fn s(ids: &[u32]) -> u32 { let w = get(); if w.1.is_some() { for i in ids { reach(*i); } } if ids.contains(&w.0) { w.0 } else { 0 } }
}
'''
lib.write_text(t)
Path(skipfile+".special").write_text(" ".join(map(str,sorted(special))))
